package dvtedge.demo

import android.Manifest
import android.annotation.SuppressLint
import android.content.Context
import android.content.pm.PackageManager
import android.graphics.ImageFormat
import android.hardware.camera2.CameraAccessException
import android.hardware.camera2.CameraCaptureSession
import android.hardware.camera2.CameraCharacteristics
import android.hardware.camera2.CameraDevice
import android.hardware.camera2.CameraManager
import android.media.ImageReader
import android.os.Handler
import android.os.HandlerThread
import dvtedge.device.DvtEdgeError
import dvtedge.device.RgbImage

private const val WIDTH = 640
private const val HEIGHT = 480

/**
 * The back camera's frames, each told to [frame] on the camera's own thread: the newest one, the others are dropped. What
 * [frame] is given makes its upright image, until it returns. [failed] is called there too, with what went wrong. [turned] is
 * the display's rotation in degrees, asked for each frame that is made an image.
 */
class CameraSource(
    private val context: Context,
    private val turned: () -> Int,
    private val frame: (() -> RgbImage) -> Unit,
    private val failed: (String) -> Unit,
) : AutoCloseable {
    private val manager = context.getSystemService(CameraManager::class.java)
    private var handler: Handler? = null // of the camera's thread: all that follows is touched there alone
    private var reader: ImageReader? = null
    private var camera: CameraDevice? = null
    private var opening = false
    private var closed = false

    fun allowed() = context.checkSelfPermission(Manifest.permission.CAMERA) == PackageManager.PERMISSION_GRANTED

    /** The back camera, else any; null where there is none. */
    fun id(): String? =
        try {
            val ids = manager.cameraIdList
            ids.find { facing(it) == CameraCharacteristics.LENS_FACING_BACK } ?: ids.firstOrNull()
        } catch (_: CameraAccessException) {
            null
        } catch (_: IllegalArgumentException) {
            null // it was unplugged meanwhile
        }

    private fun facing(id: String) = manager.getCameraCharacteristics(id).get(CameraCharacteristics.LENS_FACING)

    /** Once. */
    fun open() {
        val thread = HandlerThread("camera").apply { start() }
        val handler = Handler(thread.looper).also { this.handler = it }
        handler.post { telling { open(handler) } }
    }

    @SuppressLint("MissingPermission") // asked by `allowed`
    private fun open(handler: Handler) {
        val id = id() ?: return failed("no camera")
        val sensor = manager.getCameraCharacteristics(id).get(CameraCharacteristics.SENSOR_ORIENTATION) ?: 0
        val front = facing(id) == CameraCharacteristics.LENS_FACING_FRONT
        reader =
            ImageReader.newInstance(WIDTH, HEIGHT, ImageFormat.YUV_420_888, 2).apply {
                setOnImageAvailableListener({ telling { take(it, sensor, front) } }, handler)
            }
        manager.openCamera(id, Callback(handler), handler)
        opening = true
    }

    private fun take(
        reader: ImageReader,
        sensor: Int,
        front: Boolean,
    ) {
        if (closed) return
        reader.acquireLatestImage()?.use { image -> frame { frameOf(image, rotationOf(sensor, turned(), front)) } }
    }

    /** What a camera throws that is taken away, or was closed meanwhile, is told. */
    private fun telling(call: () -> Unit) =
        try {
            call()
        } catch (error: CameraAccessException) {
            tell(error)
        } catch (error: IllegalStateException) {
            tell(error)
        } catch (error: IllegalArgumentException) {
            tell(error)
        } catch (error: SecurityException) {
            tell(error)
        } catch (error: DvtEdgeError) {
            tell(error) // a frame of odd form
        }

    private fun tell(error: Exception) = failed(error.message ?: error.javaClass.simpleName)

    private inner class Callback(
        private val handler: Handler,
    ) : CameraDevice.StateCallback() {
        /** It may have been closed before it was open. */
        override fun onOpened(camera: CameraDevice) {
            opening = false
            this@CameraSource.camera = camera
            if (closed) release() else telling { begin(camera) }
        }

        private fun begin(camera: CameraDevice) {
            val surface = checkNotNull(reader).surface
            val request = camera.createCaptureRequest(CameraDevice.TEMPLATE_PREVIEW).apply { addTarget(surface) }.build()
            val state =
                object : CameraCaptureSession.StateCallback() {
                    override fun onConfigured(session: CameraCaptureSession) {
                        if (!closed) telling { session.setRepeatingRequest(request, null, handler) }
                    }

                    override fun onConfigureFailed(session: CameraCaptureSession) = failed("not configured")
                }
            @Suppress("DEPRECATION") // its successor is of API 28
            camera.createCaptureSession(listOf(surface), state, handler)
        }

        override fun onDisconnected(camera: CameraDevice) = gone(camera, "disconnected")

        override fun onError(
            camera: CameraDevice,
            error: Int,
        ) = gone(camera, "error $error")

        private fun gone(
            camera: CameraDevice,
            words: String,
        ) {
            opening = false
            this@CameraSource.camera = camera
            if (closed) release() else failed(words)
        }
    }

    /** On the camera's thread: after a frame that is in work. */
    override fun close() {
        handler?.post {
            closed = true
            release()
        }
    }

    /** The thread stays while the camera opens: its callback has to close it. */
    private fun release() {
        camera?.close()
        reader?.close()
        if (!opening) handler?.looper?.quitSafely()
    }
}

/** Clockwise degrees by which a frame is turned upright: the sensor's, less the display's; a front camera's turn adds. */
internal fun rotationOf(
    sensor: Int,
    turned: Int,
    front: Boolean,
): Int = if (front) (sensor + turned) % 360 else (sensor - turned + 360) % 360
