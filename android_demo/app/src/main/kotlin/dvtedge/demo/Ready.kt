package dvtedge.demo

import dvtedge.device.DeviceState
import dvtedge.device.PowerPolicy
import dvtedge.device.Runtime
import dvtedge.device.StateRecord

/** A bundle that is open: [policy] is its own, or the app's where it brings none. */
class Ready(
    val name: String,
    val runtime: Runtime,
    val policy: PowerPolicy,
    val energy: Energy?, // null where no profile knows of it
    val noEnergy: String?, // why
    val backend: String, // that was asked for
    val backends: List<String>, // that can be
    val engine: String, // its name and version
) : Session.State,
    AutoCloseable {
    /** What the policy sees. */
    fun state(
        sample: StateRecord,
        lifetimeS: Double?,
    ): DeviceState = sample.state(lifetimeS, energy?.leftJ(sample))

    /** Why the policy's last choice, for [state], is what it is. */
    fun reason(state: DeviceState): Reason = reasonOf(policy, runtime.power, state, runtime.memory)

    /** Why the policy's last choice is another than [reason] asks for; null where it is not. */
    fun instead(reason: Reason): Instead? = insteadOf(policy, runtime.power, reason, runtime.memory)

    override fun close() = runtime.close()
}
