package dvtedge.demo

import android.Manifest
import android.content.Context
import android.content.pm.PackageManager
import android.graphics.ImageFormat
import android.graphics.Rect
import android.hardware.camera2.CameraCharacteristics
import android.hardware.camera2.CameraManager
import android.media.Image
import android.os.Looper
import android.view.Surface
import android.view.View
import dvtedge.device.DataError
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Assert.fail
import org.junit.Test
import org.robolectric.Shadows.shadowOf
import org.robolectric.shadows.ShadowCameraCharacteristics
import java.nio.ByteBuffer
import java.util.concurrent.CopyOnWriteArrayList

/** The camera, which a shadow stands in for: it opens and closes and gives no frames. Those are made by hand. */
class CameraTest : AppTest() {
    private val said = CopyOnWriteArrayList<String>()

    @Test
    fun noCameraThenNoPermission() {
        start().use { controller ->
            val activity = controller.get()
            activity.live.start()
            assertEquals(app.getString(R.string.camera_none), activity.live.problem.text)
            addCamera()
            activity.live.start()
            activity.onRequestPermissionsResult(
                LiveScreen.ASK_CAMERA,
                arrayOf(Manifest.permission.CAMERA),
                intArrayOf(PackageManager.PERMISSION_DENIED),
            )
            assertEquals(app.getString(R.string.camera_denied), activity.live.problem.text)
            draw(activity, "denied-light")
            shadowOf(app).grantPermissions(Manifest.permission.CAMERA)
            activity.live.start()
            assertEquals(View.GONE, activity.live.problem.visibility)
            assertEquals(app.getString(R.string.camera_stop), activity.live.camera.text)
            until { cameras() == 1 }
            activity.select(1)
            assertEquals(app.getString(R.string.camera_start), activity.live.camera.text)
            until { cameras() == 0 }
        }
    }

    /** However soon it is stopped: its thread ends, and nothing is thrown or said. */
    @Test
    fun stoppedWhileItOpens() {
        start().use { controller ->
            val live = controller.get().live
            addCamera()
            shadowOf(app).grantPermissions(Manifest.permission.CAMERA)
            repeat(20) {
                live.start()
                live.hide(comesBack = false)
            }
            until { cameras() == 0 }
            settle()
            assertEquals(View.GONE, live.problem.visibility)
        }
    }

    /** A camera that is unplugged while it runs, or before it opens, is told of, and its thread ends. */
    @Test
    fun aCameraThatIsTakenAway() {
        start().use { controller ->
            val live = controller.get().live
            addCamera()
            shadowOf(app).grantPermissions(Manifest.permission.CAMERA)
            live.start()
            until { cameras() == 1 }
            settle()
            manager.cameraIdList.forEach(shadowOf(manager)::removeCamera)
            live.hide(comesBack = false)
            until { cameras() == 0 }
            val source = CameraSource(app, { 0 }, {}, { said += it })
            source.open()
            until { said == listOf("no camera") }
            source.close()
            until { cameras() == 0 }
        }
    }

    /** Half a turn recreates no activity: the rotation is asked for each frame. */
    @Test
    fun halfATurn() {
        start().use { controller ->
            val live = controller.get().live
            assertEquals(0, live.turned())
            @Suppress("DEPRECATION")
            shadowOf(controller.get().windowManager.defaultDisplay).setRotation(Surface.ROTATION_180)
            assertEquals(180, live.turned())
        }
    }

    /** A request that was interrupted has no result: the user was not asked. */
    @Test
    fun aRequestThatWasInterrupted() {
        start().use { controller ->
            val activity = controller.get()
            addCamera()
            activity.live.start()
            activity.onRequestPermissionsResult(LiveScreen.ASK_CAMERA, emptyArray(), intArrayOf())
            assertEquals("", activity.live.problem.text)
        }
    }

    private val manager get() = app.getSystemService(Context.CAMERA_SERVICE) as CameraManager

    /** Threads of cameras. */
    private fun cameras(): Int = Thread.getAllStackTraces().keys.count { it.name == "camera" }

    private fun until(reached: () -> Boolean) {
        repeat(500) {
            shadowOf(Looper.getMainLooper()).idle()
            if (reached()) return
            Thread.sleep(10)
        }
        fail("it did not come so far in 5 s; cameras: ${cameras()}, said: $said")
    }

    private fun addCamera() {
        val back = ShadowCameraCharacteristics.newCameraCharacteristics()
        shadowOf(back).set(CameraCharacteristics.LENS_FACING, CameraCharacteristics.LENS_FACING_BACK)
        shadowOf(back).set(CameraCharacteristics.SENSOR_ORIENTATION, 90)
        shadowOf(manager).addCamera("0", back)
    }

    /** Semi-planar frames with strides, as cameras give them, turned and answered. */
    @Test
    fun cameraFrames() {
        start().use { controller ->
            val frame = frameOf(FakeImage(64, 48), rotation = 90)
            assertEquals(48 to 64, frame.width to frame.height)
            assertArrayEquals(byteArrayOf(-128, -128, -128), frame.bytes.copyOf(3))
            repeat(3) { session.classifyFrame { frame } }
            settle()
            assertEquals(3, session.answered + session.dropped)
            assertTrue(session.answered >= 1 && session.last!!.labelName in words(controller.get()))
        }
        assertEquals(
            listOf(90, 0, 0, 180),
            listOf(rotationOf(90, 0, false), rotationOf(90, 90, false), rotationOf(270, 90, true), rotationOf(90, 270, false)),
        )
    }

    /** What it takes to make a frame an image counts; a frame that comes while one is in work is not made one. */
    @Test
    fun framesAreConvertedWhenTheyAreTaken() {
        start().use {
            var converted = 0
            repeat(3) {
                session.classifyFrame {
                    converted += 1
                    Thread.sleep(200)
                    frameOf(FakeImage(64, 48), rotation = 0)
                }
            }
            settle()
            assertEquals(listOf(1, 1, 2), listOf(converted, session.answered, session.dropped))
            val result = session.last!!
            assertTrue("${result.preprocessMs}, ${result.totalMs}", result.preprocessMs >= 200 && result.totalMs >= 200)
            assertTrue(result.glueMs < result.totalMs - 200)
        }
    }

    /** A frame of odd form is its camera's error, and the next one is taken. */
    @Test
    fun aFrameOfOddForm() {
        start().use {
            assertThrows(DataError::class.java) { session.classifyFrame { throw DataError("odd") } }
            session.classifyFrame { frameOf(FakeImage(64, 48), rotation = 0) }
            settle()
            assertEquals(listOf(1, 0), listOf(session.answered, session.dropped))
        }
    }

    /** Grey, as Android hands it over: luma in rows of 80 bytes, Cb and Cr taking turns. */
    private class FakeImage(
        private val width: Int,
        private val height: Int,
    ) : Image() {
        override fun getFormat() = ImageFormat.YUV_420_888

        override fun getWidth() = width

        override fun getHeight() = height

        override fun getTimestamp() = 0L

        override fun getTransform() = 0

        override fun getScalingMode() = 0

        override fun getCropRect() = Rect(0, 0, width, height)

        override fun getPlanes(): Array<Plane> = arrayOf(plane(80, 1, height), plane(80, 2, height / 2), plane(80, 2, height / 2))

        override fun close() = Unit

        private fun plane(
            row: Int,
            step: Int,
            rows: Int,
        ) = object : Plane() {
            override fun getRowStride() = row

            override fun getPixelStride() = step

            override fun getBuffer(): ByteBuffer =
                ByteBuffer.allocateDirect(row * rows).apply { repeat(row * rows) { put(it, -128) } }
        }
    }
}
