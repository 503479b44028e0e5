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
import dvtedge.device.RgbImage

private const val WIDTH = 640
private const val HEIGHT = 480

/**
 * The back camera's frames, upright, each given to [frame] on the camera's own thread: the newest one, the others are
 * dropped. [failed] is called there too, with what went wrong.
 */
class CameraSource(
    private val context: Context,
    private val frame: (RgbImage) -> Unit,
    private val failed: (String) -> Unit,
) : AutoCloseable {
    private val manager = context.getSystemService(CameraManager::class.java)
    private var thread: HandlerThread? = null
    private var reader: ImageReader? = null
    private var camera: CameraDevice? = null
    private var closed = false

    fun allowed() = context.checkSelfPermission(Manifest.permission.CAMERA) == PackageManager.PERMISSION_GRANTED

    /** The back camera, else any; null where there is none. */
    fun id(): String? =
        try {
            val ids = manager.cameraIdList
            ids.find { facing(it) == CameraCharacteristics.LENS_FACING_BACK } ?: ids.firstOrNull()
        } catch (_: CameraAccessException) {
            null
        }

    private fun facing(id: String) = manager.getCameraCharacteristics(id).get(CameraCharacteristics.LENS_FACING)

    /** [turned] is the display's rotation in degrees. */
    @SuppressLint("MissingPermission") // asked by `allowed`
    fun open(turned: Int) {
        val id = id() ?: return failed("no camera")
        val sensor = manager.getCameraCharacteristics(id).get(CameraCharacteristics.SENSOR_ORIENTATION) ?: 0
        val thread = HandlerThread("camera").apply { start() }
        val handler = Handler(thread.looper)
        this.thread = thread
        reader =
            ImageReader.newInstance(WIDTH, HEIGHT, ImageFormat.YUV_420_888, 2).apply {
                val rotation = rotationOf(sensor, turned, front = facing(id) == CameraCharacteristics.LENS_FACING_FRONT)
                setOnImageAvailableListener({
                    it.acquireLatestImage()?.use { image ->
                        frame(frameOf(image, rotation))
                    }
                }, handler)
            }
        try {
            manager.openCamera(id, Callback(handler), handler)
        } catch (error: CameraAccessException) {
            failed(error.message.orEmpty())
        }
    }

    private inner class Callback(
        private val handler: Handler,
    ) : CameraDevice.StateCallback() {
        /** It may have been closed before it was open. */
        override fun onOpened(camera: CameraDevice) {
            val surface = synchronized(this@CameraSource) { reader?.surface?.takeIf { !closed } }
            if (surface == null) return camera.close()
            this@CameraSource.camera = camera
            try {
                val request = camera.createCaptureRequest(CameraDevice.TEMPLATE_PREVIEW).apply { addTarget(surface) }.build()
                @Suppress("DEPRECATION") // its successor is of API 28
                camera.createCaptureSession(
                    listOf(surface),
                    object : CameraCaptureSession.StateCallback() {
                        override fun onConfigured(session: CameraCaptureSession) {
                            runCatching {
                                session.setRepeatingRequest(
                                    request,
                                    null,
                                    handler,
                                )
                            }.onFailure { failed("${it.message}") }
                        }

                        override fun onConfigureFailed(session: CameraCaptureSession) = failed("not configured")
                    },
                    handler,
                )
            } catch (error: CameraAccessException) {
                failed(error.message.orEmpty())
            }
        }

        override fun onDisconnected(camera: CameraDevice) = camera.close().also { failed("disconnected") }

        override fun onError(
            camera: CameraDevice,
            error: Int,
        ) = camera.close().also { failed("error $error") }
    }

    override fun close() {
        synchronized(this) {
            closed = true
            camera?.close()
            reader?.close()
            thread?.quitSafely()
        }
    }
}

/** Clockwise degrees by which a frame is turned upright: the sensor's, less the display's; a front camera's turn adds. */
internal fun rotationOf(
    sensor: Int,
    turned: Int,
    front: Boolean,
): Int = if (front) (sensor + turned) % 360 else (sensor - turned + 360) % 360
