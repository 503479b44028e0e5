package dvtedge.demo

import org.junit.Assert.assertEquals
import org.junit.Test

class PacedTest {
    /** Once a second at most, whatever it said; what is not known is asked for no oftener. */
    @Test
    fun aReadingStaysForItsSeconds() {
        var now = 5.0
        val given = ArrayDeque(listOf(0.5, null, 0.75))
        val paced = Paced(1.0, { now }) { given.removeFirst() }
        val read =
            listOf(5.0, 5.1, 5.99, 6.0, 6.5, 7.0).map {
                now = it
                paced.reading()
            }
        assertEquals(listOf(0.5, 0.5, 0.5, null, null, 0.75), read)
    }
}
