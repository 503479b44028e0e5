package dvtedge.demo

import android.Manifest
import android.content.ComponentCallbacks2
import android.content.Context
import android.content.pm.PackageManager
import android.graphics.Bitmap
import android.graphics.ImageFormat
import android.graphics.Rect
import android.hardware.camera2.CameraCharacteristics
import android.hardware.camera2.CameraManager
import android.media.Image
import android.net.Uri
import android.os.PowerManager
import dvtedge.device.RgbImage
import dvtedge.device.Thermal
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import org.robolectric.Shadows.shadowOf
import org.robolectric.annotation.Config
import org.robolectric.shadows.ShadowCameraCharacteristics
import java.io.ByteArrayOutputStream
import java.io.File
import java.nio.ByteBuffer

/** What goes wrong on phones: each has its own words, and the app goes on. */
class TroubleTest : AppTest() {
    @Test
    fun aCorruptBundleIsNamedAndAnotherOpened() {
        val pushed = File(app.getExternalFilesDir("bundles"), "broken.zip")
        pushed.writeBytes(
            app.assets.open("bundles/onnx-int8.zip").readBytes().also {
                it[it.size / 2] =
                    (it[it.size / 2] + 1).toByte()
            },
        )
        start().use { controller ->
            val activity = controller.get()
            session.open("broken.zip")
            settle()
            assertTrue(
                words(activity),
                "broken.zip" in activity.message.text && app.getString(R.string.open_bundle) in words(activity),
            )
            draw(activity, "corrupt-light")
            assertTrue(!session.classify { RgbImage(1, 1, ByteArray(3)) })
            session.open("onnx-int8.zip")
            settle()
            assertEquals("onnx-int8.zip", (session.state as Ready).name)
            assertTrue(activity.message.visibility == android.view.View.GONE)
        }
    }

    class NoAssets : DemoApplication() {
        override fun bundles() = Bundles(this, "nothing")
    }

    @Test
    @Config(application = NoAssets::class)
    fun noBundle() {
        start().use { controller ->
            assertEquals(app.getString(R.string.no_bundle), controller.get().message.text)
            draw(controller.get(), "missing-light")
            val uri = Uri.parse("content://files/cascade.zip")
            shadowOf(app.contentResolver).registerInputStreamSupplier(uri) {
                File(System.getProperty("bundles"), "onnx-int8.zip").inputStream()
            }
            session.open(uri)
            settle()
            assertEquals("opened-cascade.zip", (session.state as Ready).name)
        }
    }

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
            settle()
            activity.select(1)
        }
    }

    private fun addCamera() {
        val back = ShadowCameraCharacteristics.newCameraCharacteristics()
        shadowOf(back).set(CameraCharacteristics.LENS_FACING, CameraCharacteristics.LENS_FACING_BACK)
        shadowOf(back).set(CameraCharacteristics.SENSOR_ORIENTATION, 90)
        shadowOf(app.getSystemService(Context.CAMERA_SERVICE) as CameraManager).addCamera("0", back)
    }

    /** Semi-planar frames with strides, as cameras give them, turned and answered. */
    @Test
    fun cameraFrames() {
        start().use { controller ->
            val frame = frameOf(FakeImage(64, 48), rotation = 90)
            assertEquals(48 to 64, frame.width to frame.height)
            assertArrayEquals(byteArrayOf(-128, -128, -128), frame.bytes.copyOf(3))
            repeat(3) { controller.get().live.frame(frame) }
            settle()
            assertEquals(3, session.answered + session.dropped)
            assertTrue(session.answered >= 1 && session.last!!.labelName in words(controller.get()))
        }
        assertEquals(
            listOf(90, 0, 0, 180),
            listOf(rotationOf(90, 0, false), rotationOf(90, 90, false), rotationOf(270, 90, true), rotationOf(90, 270, false)),
        )
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

    @Test
    fun picturesFromTheGallery() {
        start().use { controller ->
            val picture = Bitmap.createBitmap(50, 40, Bitmap.Config.ARGB_8888).apply { eraseColor(0xff336699.toInt()) }
            val png = ByteArrayOutputStream().also { picture.compress(Bitmap.CompressFormat.PNG, 100, it) }.toByteArray()
            val uri = Uri.parse("content://pictures/1")
            shadowOf(app.contentResolver).registerInputStreamSupplier(uri) { png.inputStream() }
            session.classify { readPicture(app.contentResolver, uri) }
            settle()
            assertArrayEquals(byteArrayOf(0x33, 0x66, 0x99.toByte()), session.last!!.pixels.copyOf(3))

            shadowOf(app.contentResolver).registerInputStreamSupplier(uri) { "no picture".byteInputStream() }
            session.classify { readPicture(app.contentResolver, uri) }
            settle()
            assertEquals(1, session.failed)
            assertTrue(app.getString(R.string.failed, "not a picture that Android decodes") in words(controller.get()))
        }
    }

    /** A rotation and the background: answers stay, stages go when memory is short, and come again. */
    @Test
    fun rotationAndLowMemory() {
        start().use { controller ->
            session.classify { RgbImage(32, 32, ByteArray(3072)) }
            settle()
            val before = session.last
            controller.get().select(1)
            controller.recreate()
            settle()
            val again = controller.get()
            assertTrue(app.getString(R.string.override) in words(again))
            again.select(0)
            assertEquals(before, session.last)
            assertTrue(before!!.labelName in words(again))
            assertTrue(runtime.loaded.any { it })
            controller.stop()
            app.onTrimMemory(ComponentCallbacks2.TRIM_MEMORY_BACKGROUND)
            settle()
            assertEquals(listOf(false, false, false), runtime.loaded)
            controller.start()
            assertTrue(app.getString(R.string.memory_short) in words(again))
            draw(again, "memory-light")
            session.classify { RgbImage(32, 32, ByteArray(3072)) }
            settle()
            assertEquals(2, session.answered)
            assertTrue(app.getString(R.string.memory_short) !in words(again))
        }
    }

    /** No session outlives its bundle: another one closes the stages of the one before. */
    @Test
    fun anotherBundleClosesTheOneBefore() {
        start().use {
            val first = runtime
            first.prewarm()
            session.open(session.bundles.names().last())
            settle()
            assertEquals(listOf(false, false, false), first.loaded)
            assertTrue(runtime !== first)
        }
    }

    @Test
    fun heatAsThePolicySeesIt() {
        val power = app.getSystemService(Context.POWER_SERVICE) as PowerManager
        shadowOf(power).setCurrentThermalStatus(PowerManager.THERMAL_STATUS_SEVERE)
        assertEquals(Thermal.SERIOUS, Device(app).sample().thermal)
        assertEquals(
            listOf(Thermal.NOMINAL, Thermal.FAIR, Thermal.SERIOUS, Thermal.SERIOUS, Thermal.CRITICAL),
            (0..4).map(::thermalOf),
        )
    }

    /** What the manifest asks of the user: the camera, and no network. */
    @Test
    fun permissions() {
        val info = app.packageManager.getPackageInfo(app.packageName, PackageManager.GET_PERMISSIONS)
        assertEquals(listOf(Manifest.permission.CAMERA), info.requestedPermissions!!.toList())
    }
}
