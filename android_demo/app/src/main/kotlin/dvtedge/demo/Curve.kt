package dvtedge.demo

import android.content.Context
import android.graphics.Canvas
import android.graphics.Paint
import android.graphics.Path
import android.view.View

/** [values] over time, from the least to the largest, in the colour of the theme; [words] say them to a screen reader. */
class Curve(
    context: Context,
    private val values: List<Double>,
    words: String,
) : View(context) {
    private val paint =
        Paint(Paint.ANTI_ALIAS_FLAG).apply {
            style = Paint.Style.STROKE
            strokeWidth = context.dp(2).toFloat()
            color = context.accent()
        }

    init {
        contentDescription = words
        minimumHeight = context.dp(72)
    }

    override fun onDraw(canvas: Canvas) {
        val edge = paint.strokeWidth
        val (low, high) = values.min() to values.max()
        val path = Path()
        values.forEachIndexed { k, value ->
            val x = edge + (width - 2 * edge) * k / (values.size - 1)
            val share = if (high > low) ((value - low) / (high - low)).toFloat() else 0.5f
            val y = height - edge - (height - 2 * edge) * share
            if (k == 0) path.moveTo(x, y) else path.lineTo(x, y)
        }
        canvas.drawPath(path, paint)
    }
}
