// Pictures as the pixels that Python sees: those of `training.data` for the same file.

const PRECISION = 2 ** 22; // Of Pillow's coefficients.
const LUMINANCE = [0.299, 0.587, 0.114].map(Math.fround); // ITU-R BT.601.

// Decodes a file that the browser knows, without conversion of colors, on white.
//
// Returns `{ width, height, data }`, four bytes a pixel. Pixels of pictures that are
// opaque are those of Pillow.
export async function decode(blob) {
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none" });
  const { width, height } = bitmap;
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return { width, height, data: context.getImageData(0, 0, width, height).data };
}

// What pixels of a side a resized one is made of: for each the first, and whole numbers.
function weightsOf(side, crop, size) {
  // Pillow has the crop, and its size, in single precision.
  const first = Math.fround((side - crop) / 2);
  const scale = Math.fround(Math.fround((side - crop) / 2 + crop) - first) / size;
  const reach = Math.max(scale, 1);
  return Array.from({ length: size }, (_, i) => {
    const center = first + (i + 0.5) * scale;
    const low = Math.max(Math.floor(center - reach + 0.5), 0);
    const high = Math.min(Math.floor(center + reach + 0.5), side);
    const found = [];
    for (let x = low; x < high; x++) {
      found.push(Math.max(1 - Math.abs((x - center + 0.5) * (1 / reach)), 0));
    }
    const sum = found.reduce((a, b) => a + b);
    return [low, found.map((w) => Math.floor((w / sum) * PRECISION + 0.5))];
  });
}

const rounded = (sum) => Math.floor(sum / PRECISION + 0.5);

// Resizes by the shorter side and crops at the center; bilinear, over all pixels that a
// new one covers, as Pillow does. Gray is the luminance.
//
// image: `{ width, height, data }` of four bytes a pixel.
// shape: `[height, width, channels]`, with 1 or 3 channels.
//
// Returns height x width x channels bytes.
export function fit(image, [height, width, channels]) {
  const rows = weightsOf(
    image.height, Math.min(image.height, image.width / (width / height)), height,
  );
  const columns = weightsOf(
    image.width, Math.min(image.width, (width / height) * image.height), width,
  );
  const result = new Uint8Array(height * width * channels);
  const colors = new Float64Array(height * width * 3);
  const lines = new Map(); // Of the picture, by their number, in their new width.
  const lineOf = (y) => {
    if (!lines.has(y)) {
      const line = new Float64Array(width * 3);
      columns.forEach(([first, weights], x) => {
        for (let c = 0; c < 3; c++) {
          let sum = 0;
          weights.forEach((w, i) => {
            sum += w * image.data[4 * (y * image.width + first + i) + c];
          });
          line[3 * x + c] = rounded(sum);
        }
      });
      lines.set(y, line);
    }
    return lines.get(y);
  };
  rows.forEach(([first, weights], y) => {
    for (const known of lines.keys()) if (known < first) lines.delete(known);
    const taken = weights.map((_, i) => lineOf(first + i));
    for (let x = 0; x < 3 * width; x++) {
      let sum = 0;
      weights.forEach((w, i) => (sum += w * taken[i][x]));
      colors[3 * width * y + x] = rounded(sum);
    }
  });
  if (channels === 3) return result.map((_, i) => colors[i]);
  return result.map((_, i) => {
    const gray = LUMINANCE.reduce(
      (sum, weight, c) => Math.fround(sum + Math.fround(weight * colors[3 * i + c])), 0,
    );
    const below = Math.floor(gray); // Halves go to even numbers.
    const isUp = gray - below > 0.5 || (gray - below === 0.5 && below % 2 === 1);
    return below + (isUp ? 1 : 0);
  });
}
