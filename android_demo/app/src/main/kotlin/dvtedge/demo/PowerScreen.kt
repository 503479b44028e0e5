package dvtedge.demo

import android.app.Activity
import android.text.Editable
import android.text.InputType
import android.text.TextWatcher
import android.view.View
import android.widget.EditText
import android.widget.FrameLayout
import dvtedge.device.StateRecord
import java.util.Locale

/** The battery and heat as the policy sees them, what it chooses and why, and the user's own wishes. */
class PowerScreen(
    private val activity: Activity,
    private val session: Session,
) : Screen {
    private val battery = activity.text()
    private val current = activity.text()
    private val temperature = activity.text()
    private val thermal = activity.text()
    private val saving = activity.text()
    val choice = activity.text(18f)
    private val queue = activity.text(13f)
    private val points = FrameLayout(activity)
    private val hours =
        EditText(activity).apply {
            id = View.generateViewId()
            inputType = InputType.TYPE_CLASS_NUMBER or InputType.TYPE_NUMBER_FLAG_DECIMAL
            minimumHeight = activity.dp(48)
            setText(session.lifetimeS?.let { "${it / 3600}" }.orEmpty())
            addTextChangedListener(
                object : TextWatcher {
                    override fun afterTextChanged(words: Editable) {
                        session.lifetimeS = words.toString().toDoubleOrNull()?.times(3600)
                        show()
                    }

                    override fun beforeTextChanged(
                        s: CharSequence?,
                        start: Int,
                        count: Int,
                        after: Int,
                    ) = Unit

                    override fun onTextChanged(
                        s: CharSequence?,
                        start: Int,
                        before: Int,
                        count: Int,
                    ) = Unit
                },
            )
        }
    private val hoursLabel = activity.text(words = activity.getString(R.string.lifetime)).apply { labelFor = hours.id }

    override val view: View =
        activity.scrolling(
            activity.column(
                battery,
                current,
                temperature,
                thermal,
                saving,
                choice,
                queue,
                activity.text(words = activity.getString(R.string.override)),
                points,
                hoursLabel,
                hours,
            ),
        )

    override fun show() {
        val ready = session.state as? Session.Ready ?: return
        val sample = session.device.sample()
        show(sample)
        choice.text = choiceOf(ready, sample)
        queue.showIf(ready.policy.queue != null && ready.runtime.power.exitJ == null)
        queue.setText(R.string.queue_cannot)
        if (points.childCount == 0 || points.tag != ready) listPoints(ready)
    }

    private fun show(sample: StateRecord) {
        val level = activity.orUnknown(sample.batteryLevel?.let { percent(it) })
        battery.text =
            activity.getString(
                R.string.battery,
                "$level, ${activity.getString(if (sample.charging) R.string.charging else R.string.discharging)}",
            )
        current.text =
            activity.getString(
                R.string.current,
                activity.orUnknown(
                    sample.currentUa?.let {
                        "${it / 1000} mA, ${sample.voltageMv ?: "?"} mV"
                    },
                ),
            )
        temperature.text =
            activity.getString(
                R.string.temperature,
                activity.orUnknown(sample.temperatureC?.let { "%.1f °C".format(Locale.ROOT, it) }),
            )
        val state = activity.orUnknown(sample.thermal?.name?.lowercase())
        thermal.text =
            activity.getString(
                R.string.thermal,
                state,
                activity.orUnknown(sample.headroom?.let { "%.2f".format(Locale.ROOT, it) }),
            )
        saving.setText(if (sample.lowPower == true) R.string.power_save_on else R.string.power_save_off)
    }

    private fun percent(level: Double) = "%.0f %%".format(Locale.ROOT, 100 * level)

    /** Asks the policy as an image would. */
    private fun choiceOf(
        ready: Session.Ready,
        sample: StateRecord,
    ): String {
        session.override?.let { return activity.getString(R.string.policy_override, it) }
        val plan = ready.runtime.plan(sample.state(session.lifetimeS))
        val whose = if (ready.runtime.manifest.policy == null) R.string.policy_app else R.string.policy_bundle
        val words = activity.getString(whose, plan.point, reasonOf(ready.policy, ready.runtime.memory))
        val cap = plan.maxStage?.let { "\n" + activity.getString(R.string.cap, it + 1) }.orEmpty()
        val proved = if (plan.uncertified) "\n" + activity.getString(R.string.uncertified) else ""
        return words + cap + proved
    }

    private fun listPoints(ready: Session.Ready) {
        val names =
            ready.runtime.manifest.operatingPoints
                .map { it.name }
        val items = listOf(activity.getString(R.string.by_policy)) + names
        val list =
            activity.choice(R.string.override, items, 1 + names.indexOf(session.override)) {
                session.override = names.getOrNull(it - 1)
                show()
            }
        points.removeAllViews()
        points.addView(list)
        points.tag = ready
    }
}
