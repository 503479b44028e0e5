package dvtedge.demo

import android.app.Activity
import android.text.Editable
import android.text.InputType
import android.text.TextWatcher
import android.view.View
import android.widget.EditText
import android.widget.FrameLayout
import dvtedge.device.Rule
import dvtedge.device.StateRecord
import dvtedge.device.Thermal
import dvtedge.device.baseDraw
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
    private val energy = activity.text(13f)
    private val again = Runnable { show() }
    private var hasTarget = session.lifetimeS != null
    private val points = FrameLayout(activity)
    private val hours =
        EditText(activity).apply {
            id = View.generateViewId()
            inputType = InputType.TYPE_CLASS_NUMBER or InputType.TYPE_NUMBER_FLAG_DECIMAL
            minimumHeight = activity.dp(48)
            setText(session.lifetimeS?.let { "%.2f".format(Locale.ROOT, it / 3600) }.orEmpty())
            addTextChangedListener(
                object : TextWatcher {
                    override fun afterTextChanged(words: Editable) {
                        session.lifetimeS = words.toString().toDoubleOrNull()?.times(3600)
                        hasTarget = session.lifetimeS != null
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
                energy,
                activity.text(words = activity.getString(R.string.override)),
                points,
                hoursLabel,
                hours,
            ),
        )

    override fun show() {
        val ready = session.state as? Ready ?: return
        val sample = session.device.sample()
        show(sample)
        if (hasTarget && session.lifetimeS == null) hours.setText("") // the battery has lasted so long
        choice.text = choiceOf(ready, sample)
        energy.text = energyOf(ready)
        if (points.childCount == 0 || points.tag != ready) listPoints(ready)
        view.removeCallbacks(again)
        view.postDelayed(again, EVERY_MS)
    }

    override fun hide(comesBack: Boolean) {
        view.removeCallbacks(again)
    }

    /** What the queue counts with, and where that comes from; or why it cannot. */
    private fun energyOf(ready: Ready): String {
        val known = ready.energy ?: return activity.getString(R.string.queue_cannot) + ready.noEnergy?.let { "\n$it" }.orEmpty()
        val table = ready.runtime.power
        val beside = baseDraw(ready.policy, table, ready.runtime.memory.drain)
        return activity.getString(
            R.string.queue_counts,
            known.profile.name,
            activity.basis(known.costs.basis),
            known.costs.exitJ.joinToString(" / ") { "%.1f".format(Locale.ROOT, 1e3 * it) },
            known.capacityJ / 1e3,
            activity.getString(if (known.counted) R.string.by_counter else R.string.by_profile),
            beside,
        )
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
        val state = activity.orUnknown(sample.thermal?.let(::thermalWords))
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
        ready: Ready,
        sample: StateRecord,
    ): String {
        session.override?.let { return activity.getString(R.string.policy_override, it) }
        val state = ready.state(sample, session.lifetimeS)
        val plan = ready.runtime.plan(state)
        val whose = if (ready.runtime.manifest.policy == null) R.string.policy_app else R.string.policy_bundle
        val reason = ready.reason(state)
        val words = activity.getString(whose, plan.point, wordsOf(reason))
        val instead = ready.instead(reason)?.let { "\n" + wordsOf(it, ready.policy.dwellS) }.orEmpty()
        val cap = plan.maxStage?.let { "\n" + activity.getString(R.string.cap, it + 1) }.orEmpty()
        val proved = if (plan.uncertified) "\n" + activity.getString(R.string.uncertified) else ""
        return words + instead + cap + proved
    }

    private fun wordsOf(reason: Reason): String =
        when (reason) {
            is Reason.ByRule -> {
                activity.getString(R.string.reason_rule, reason.number + 1, conditionsOf(reason.rule))
            }

            is Reason.ByQueue -> {
                reason.queueJ?.let { activity.getString(R.string.reason_queue, it) }
                    ?: activity.getString(R.string.reason_queue_new)
            }

            is Reason.Otherwise -> {
                activity.getString(R.string.reason_otherwise)
            }
        }

    private fun wordsOf(
        instead: Instead,
        dwellS: Double,
    ): String =
        when (instead) {
            Instead.NO_CERTIFICATE -> activity.getString(R.string.instead_certificate)
            Instead.DWELL -> activity.getString(R.string.instead_dwell, dwellS)
        }

    private fun conditionsOf(rule: Rule): String =
        listOfNotNull(
            rule.batteryBelow?.let { activity.getString(R.string.when_battery, percent(it)) },
            rule.charging?.let { activity.getString(if (it) R.string.charging else R.string.discharging) },
            rule.lowPower?.let { activity.getString(if (it) R.string.power_save_on else R.string.power_save_off) },
            rule.thermalAtLeast?.let { activity.getString(R.string.when_hot, thermalWords(it)) },
        ).joinToString(", ").ifEmpty { activity.getString(R.string.when_always) }

    private fun thermalWords(thermal: Thermal): String =
        activity.getString(
            when (thermal) {
                Thermal.NOMINAL -> R.string.thermal_nominal
                Thermal.FAIR -> R.string.thermal_fair
                Thermal.SERIOUS -> R.string.thermal_serious
                Thermal.CRITICAL -> R.string.thermal_critical
            },
        )

    private fun listPoints(ready: Ready) {
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

    private companion object {
        const val EVERY_MS = 2000L
    }
}
