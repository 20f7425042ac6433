"""The two maps of convolution.py as GPU kernels in CUDA C++. You may skip this file.

cupy.fuse takes elementwise formulas, and these maps read other elements than they write. So each is
written twice. An ElementwiseKernel runs its operation for every element i of the output; T is the
type of the arrays.

The numbers of one example are counted with 32 bits. A batch may have more than 2^31 numbers, so
what is multiplied by N has 64 bits (ptrdiff_t).
"""

# Sizes of the image; and the convolution's kernel, stride S, padding P and number of positions.
GEOMETRY = ", ".join(f"int32 {name}" for name in "H W N Kh Kw Sh Sw Ph Pw Ho Wo".split())


def gather(cupy):
    """The kernel of `patches`."""
    operation = """
    // i counts through (C, Kh, Kw, Ho, Wo, N); its digits, the last first
    ptrdiff_t n = i % N; int rest = i / N;
    int wo = rest % Wo; rest /= Wo;
    int ho = rest % Ho; rest /= Ho;
    int b = rest % Kw; rest /= Kw;
    int a = rest % Kh, c = rest / Kh;
    int h = Sh * ho + a - Ph, w = Sw * wo + b - Pw;
    ptrdiff_t pixel = (c * H + h) * W + w;
    p = 0 <= h && h < H && 0 <= w && w < W ? x[pixel * N + n] : T(0)"""
    return cupy.ElementwiseKernel(f"raw T x, {GEOMETRY}", "T p", operation, "gather")


def scatter(cupy):
    """The kernel of `patches_adjoint`."""
    operation = """
    // i counts through (C, H, W, N); at position (ho, wo), tap (a, b) is over pixel (h, w)
    ptrdiff_t n = i % N; int rest = i / N;
    int w = rest % W + Pw, h = rest / W % H + Ph, c = rest / W / H;
    T sum = 0;
    for (int a = h % Sh; a < Kh && a <= h; a += Sh)
      for (int b = w % Sw; b < Kw && b <= w; b += Sw) {
        int ho = (h - a) / Sh, wo = (w - b) / Sw;
        ptrdiff_t place = (((c * Kh + a) * Kw + b) * Ho + ho) * Wo + wo;
        if (ho < Ho && wo < Wo) sum += p[place * N + n];
      }
    x = sum"""
    return cupy.ElementwiseKernel(f"raw T p, {GEOMETRY}", "T x", operation, "scatter")
