// go run decode_jpegs.go FROM TO: each JPEG in FROM as a PNG in TO, by Go's own decoder: another inverse transform than
// libjpeg's, and colours that are not smoothed.
package main

import (
	"image"
	"image/color"
	_ "image/jpeg"
	"image/png"
	"os"
	"path/filepath"
	"strings"
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func main() {
	for _, path := range must(filepath.Glob(filepath.Join(os.Args[1], "*.jpg"))) {
		file := must(os.Open(path))
		picture, _, err := image.Decode(file)
		must(0, err)
		size := picture.Bounds()
		rgb := image.NewNRGBA(size)
		for y := size.Min.Y; y < size.Max.Y; y++ {
			for x := size.Min.X; x < size.Max.X; x++ {
				rgb.Set(x, y, color.NRGBAModel.Convert(picture.At(x, y)))
			}
		}
		name := strings.TrimSuffix(filepath.Base(path), ".jpg") + ".png"
		must(0, png.Encode(must(os.Create(filepath.Join(os.Args[2], name))), rgb))
	}
}
