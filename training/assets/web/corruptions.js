// What a slider does to pixels: simpler than the corruptions that `zoo-evaluate` has.
//
// Each is a function of pixels, their shape and a strength in [0, 1].

// Returns a function to numbers in [0, 1), the same ones each time.
function uniform(seed) {
  let state = seed;
  return () => {
    state = (state + 0x9e3779b1) | 0;
    let x = Math.imul(state ^ (state >>> 16), 0x7feb352d);
    x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
    return ((x ^ (x >>> 16)) >>> 8) / 2 ** 24;
  };
}

function noise(pixels, shape, strength) {
  const draw = uniform(1);
  return pixels.map((p) => {
    const radius = Math.sqrt(-2 * Math.log(1 - draw()));
    return p + 140 * strength * radius * Math.cos(2 * Math.PI * draw());
  });
}

// Averages along an axis by a Gaussian; the border is repeated.
function blurred(pixels, [height, width, channels], sigma, axis) {
  const reach = Math.ceil(3 * sigma);
  const taps = Array.from({ length: 2 * reach + 1 }, (_, i) =>
    Math.exp(-(((i - reach) / sigma) ** 2) / 2),
  );
  const sum = taps.reduce((a, b) => a + b);
  const side = axis ? width : height;
  return pixels.map((_, index) => {
    const c = index % channels;
    const x = Math.floor(index / channels) % width;
    const y = Math.floor(index / channels / width);
    return taps.reduce((total, tap, i) => {
      const place = Math.min(Math.max((axis ? x : y) + i - reach, 0), side - 1);
      const [row, column] = axis ? [y, place] : [place, x];
      return total + (tap / sum) * pixels[(row * width + column) * channels + c];
    }, 0);
  });
}

function blur(pixels, shape, strength) {
  const sigma = 0.12 * strength * Math.min(shape[0], shape[1]);
  if (sigma < 0.05) return pixels;
  return blurred(blurred(pixels, shape, sigma, 0), shape, sigma, 1);
}

function contrast(pixels, shape, strength) {
  const mean = pixels.reduce((a, b) => a + b) / pixels.length;
  return pixels.map((p) => mean + (1 - 0.97 * strength) * (p - mean));
}

function brightness(pixels, shape, strength) {
  return pixels.map((p) => p + 230 * strength);
}

// Reads each pixel from another place, between its neighbors; outside is black.
function warped(pixels, [height, width, channels], from) {
  const at = (y, x, c) =>
    y < 0 || x < 0 || y >= height || x >= width ? 0 : pixels[(y * width + x) * channels + c];
  return pixels.map((_, index) => {
    const c = index % channels;
    const x = Math.floor(index / channels) % width;
    const [v, u] = from(Math.floor(index / channels / width), x);
    const [top, left] = [Math.floor(v), Math.floor(u)];
    const [b, a] = [v - top, u - left];
    return (
      (1 - b) * ((1 - a) * at(top, left, c) + a * at(top, left + 1, c)) +
      b * ((1 - a) * at(top + 1, left, c) + a * at(top + 1, left + 1, c))
    );
  });
}

function rotation(pixels, shape, strength) {
  const [sine, cosine] = [Math.sin(Math.PI * strength), Math.cos(Math.PI * strength)];
  const [middle, center] = [(shape[0] - 1) / 2, (shape[1] - 1) / 2];
  return warped(pixels, shape, (y, x) => [
    middle + cosine * (y - middle) - sine * (x - center),
    center + sine * (y - middle) + cosine * (x - center),
  ]);
}

function cover(pixels, [height, width, channels], strength) {
  const [rows, columns] = [strength * height, strength * width];
  return pixels.map((p, index) => {
    const x = Math.floor(index / channels) % width;
    const y = Math.floor(index / channels / width);
    const inside =
      Math.abs(y + 0.5 - height / 2) < rows / 2 && Math.abs(x + 0.5 - width / 2) < columns / 2;
    return inside ? 127 : p;
  });
}

export const CORRUPTIONS = {
  Noise: noise,
  Blur: blur,
  "Less contrast": contrast,
  Overexposure: brightness,
  Rotation: rotation,
  "Covered middle": cover,
};

// Returns bytes, corrupted; a strength of 0 leaves them as they are.
export function corrupt(name, pixels, shape, strength) {
  if (strength === 0) return Uint8Array.from(pixels);
  const changed = CORRUPTIONS[name](Float64Array.from(pixels), shape, strength);
  return Uint8Array.from(changed, (p) => Math.min(Math.max(Math.round(p), 0), 255));
}
