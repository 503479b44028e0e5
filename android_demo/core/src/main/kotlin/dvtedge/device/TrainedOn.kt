package dvtedge.device

import kotlinx.serialization.Serializable

/** What a cascade was trained on: of the images of [source], [holdout] were kept out, drawn by [seed]. */
@Serializable
data class TrainedOn(
    val source: String,
    val fingerprint: String,
    val classes: List<String>,
    val holdout: Long,
    val seed: Long,
) {
    init {
        require(holdout > 0 && seed >= 0) { "holdout $holdout, seed $seed; expected at least 1 and 0" }
    }
}
