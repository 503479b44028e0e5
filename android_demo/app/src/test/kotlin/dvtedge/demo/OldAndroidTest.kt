package dvtedge.demo

import org.junit.Assert.assertTrue
import org.junit.Test
import org.robolectric.annotation.Config

/** Android 9, which lacks much of what stands behind checks of the version, and themes that turn dark. */
@Config(sdk = [28])
class OldAndroidTest : AppTest() {
    @Test
    fun everyScreenOpens() {
        battery(percent = 62)
        start().use { controller ->
            for (tab in 0..3) controller.get().select(tab)
            session.validate.begin()
            settle()
            assertTrue(words(controller.get()), "passed" in words(controller.get()))
        }
    }
}
