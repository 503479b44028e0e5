package dvtedge.demo

import android.Manifest
import android.app.Activity
import android.content.ComponentCallbacks2
import android.content.Context
import android.content.Intent
import android.content.pm.PackageManager
import android.graphics.Bitmap
import android.net.Uri
import android.os.PowerManager
import android.widget.Button
import dvtedge.device.PowerSource
import dvtedge.device.RgbImage
import dvtedge.device.StateRecord
import dvtedge.device.Thermal
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Test
import org.robolectric.Shadows.shadowOf
import org.robolectric.annotation.Config
import org.robolectric.shadows.ShadowToast
import java.io.File
import java.io.IOException

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
    fun picturesFromTheGallery() {
        start().use { controller ->
            val picture = Bitmap.createBitmap(50, 40, Bitmap.Config.ARGB_8888).apply { eraseColor(0xff336699.toInt()) }
            val png = pngOf(picture)
            val uri = Uri.parse("content://pictures/1")
            shadowOf(app.contentResolver).registerInputStreamSupplier(uri) { png.inputStream() }
            session.classify { readPicture(app.contentResolver, uri) }
            settle()
            assertArrayEquals(byteArrayOf(0x33, 0x66, 0x99.toByte()), session.last!!.pixels.copyOf(3))

            shadowOf(app.contentResolver).registerInputStreamSupplier(uri) { "no picture".byteInputStream() }
            session.classify { readPicture(app.contentResolver, uri) }
            settle()
            assertEquals(1, session.failed)
            val message = "not a picture in BMP, GIF, JPEG, PNG, PPM, TIFF or WebP"
            assertTrue(app.getString(R.string.failed, message) in words(controller.get()))
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

    /** Units that cannot be a phone's are not shown as watts. */
    @Test
    fun wattsOfOtherUnitsAreUnknown() {
        val sample = StateRecord(1.0, idle = false, screenOn = true, charging = false, currentUa = -250_000, voltageMv = 3900)
        assertEquals(0.975, sample.watts!!, 1e-9)
        assertEquals(
            listOf(null, null, null, null),
            listOf(
                sample.copy(currentUa = -250), // milliamperes
                sample.copy(currentUa = 250_000_000), // nanoamperes
                sample.copy(voltageMv = 4),
                sample.copy(charging = true),
            ).map { it.watts },
        )
    }

    /** The draw that is shown is that after the image, not before it. */
    @Test
    fun theDrawIsThatAfterTheImage() {
        battery(percent = 62)
        start().use {
            session.classify {
                battery(percent = 62, currentUa = -500_000)
                RgbImage(32, 32, ByteArray(3072))
            }
            settle()
            assertEquals(1.95, session.watts!!, 1e-9)
        }
    }

    /** What feeds a device that tells nothing of its battery is not known. */
    @Test
    fun powerSources() {
        assertEquals(PowerSource.UNKNOWN, Device(app).powerSource())
        battery(percent = 62)
        assertEquals(PowerSource.BATTERY, Device(app).powerSource())
        battery(percent = 62, plugged = true)
        assertEquals(PowerSource.CHARGER, Device(app).powerSource())
    }

    /** An image for which there is no memory is an error like another, on the screen and in a log. */
    @Test
    fun memoryThatRunsOut() {
        start().use { controller ->
            session.classify { throw OutOfMemoryError("2 GB") }
            settle()
            val said = app.getString(R.string.failed, app.getString(R.string.out_of_memory))
            assertTrue(words(controller.get()), said in words(controller.get()))
            val (file, log) = newLog(app, session.state as Ready, session.device, "validate", everyStage = true)
            val images = sequenceOf("0" to { throw OutOfMemoryError("2 GB") }, "1" to { RgbImage(32, 32, ByteArray(3072)) })
            assertEquals(1, log.use { logImages(runtime, session.device, it, images, StateRecord::state) }.unread)
            assertTrue(""""kind":"OutOfMemoryError","message":"OutOfMemoryError"""" in file.readText())
        }
    }

    /** A log that cannot be written ends the run by its own message: the picture was one. */
    @Test
    fun aLogThatCannotBeWritten() {
        start().use {
            val (file, log) = newLog(app, session.state as Ready, session.device, "validate", everyStage = true)
            var read = 0
            val picture = {
                read += 1
                log.close()
                RgbImage(32, 32, ByteArray(3072))
            }
            val images = sequenceOf("0" to picture, "1" to picture)
            val error =
                assertThrows(IOException::class.java) {
                    logImages(runtime, session.device, log, images, StateRecord::state)
                }
            assertEquals("Stream Closed", error.message)
            assertEquals(1, read)
            assertTrue("error" !in file.readText())
        }
    }

    /** What a process that was killed left of a bundle that it was copying. */
    @Test
    fun halfACopyIsRemoved() {
        val copies = File(app.noBackupFilesDir, "bundles").also { it.mkdirs() }
        val left = File(copies, ".x.zip.123.partial").also { it.writeText("half") }
        val whole = File(copies, "x.zip").also { it.writeText("whole") }
        Bundles(app)
        assertEquals(listOf(false, true), listOf(left, whole).map(File::exists))
    }

    /** An error stands until the next answer, and nothing of one bundle is counted for another. */
    @Test
    fun anErrorIsOverWithTheNextAnswer() {
        start().use { controller ->
            val said = { app.getString(R.string.failed, "gone") in words(controller.get()) }
            session.classify { throw java.io.IOException("gone") }
            settle()
            assertTrue(said())
            session.classify { RgbImage(32, 32, ByteArray(3072)) }
            settle()
            assertFalse(said())
            session.classify { throw java.io.IOException("gone") }
            session.classify { throw java.io.IOException("gone") }
            settle()
            assertEquals(listOf(1, 2, 1), listOf(session.answered, session.failed, session.dropped))
            session.open(session.bundles.names().last())
            settle()
            assertFalse(said())
            assertEquals(listOf(0, 0, 0), listOf(session.answered, session.failed, session.dropped))
        }
    }

    /** A picture that was chosen while no bundle was open yet is classified once there is one, over a new process too. */
    @Test
    fun aPickWaitsForTheBundle() {
        val uri = Uri.parse("content://pictures/1")
        shadowOf(app.contentResolver).registerInputStreamSupplier(uri) { pngOf(Bitmap.createBitmap(50, 40, ARGB)).inputStream() }
        start().use { controller ->
            session.open("onnx-int8.zip")
            controller.get().onActivityResult(LiveScreen.PICK_IMAGE, Activity.RESULT_OK, Intent().setData(uri))
            controller.recreate()
            settle()
            settle()
            assertEquals(listOf(1, 0), listOf(session.answered, session.dropped))
        }
    }

    /** Whatever another app's provider throws is shown. */
    @Test
    fun aProviderThatThrows() {
        start().use { controller ->
            for (error in listOf(IllegalStateException("no, thanks"), IllegalArgumentException("no, thanks"))) {
                val uri = Uri.parse("content://pictures/1")
                shadowOf(app.contentResolver).registerInputStreamSupplier(uri) { throw error }
                session.classify { readPicture(app.contentResolver, uri) }
                settle()
                assertTrue(app.getString(R.string.failed, "no, thanks") in words(controller.get()))
            }
            assertEquals(2, session.failed)
        }
    }

    /** A device without a file picker. */
    @Test
    fun noAppToPickWith() {
        start().use { controller ->
            shadowOf(app).checkActivities(true)
            val buttons = views(controller.get().live.view).filterIsInstance<Button>()
            buttons.first { it.text == app.getString(R.string.image_gallery) }.performClick()
            assertEquals(app.getString(R.string.no_app), ShadowToast.getTextOfLatestToast())
        }
    }

    private companion object {
        val ARGB = Bitmap.Config.ARGB_8888
    }
}
