/* A window of a JPEG file, decoded without the rest, and the resize of a box.
 *
 * The library is the libjpeg-turbo that Pillow brings, opened by path, so both decode to the same
 * bits. The resize does Pillow's arithmetic (bicubic weights in 22 bits, along the rows first,
 * 8 bits between the passes), so a machine without a compiler gets the same pictures from Pillow.
 */

#include <dlfcn.h>
#include <math.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* What is used of libjpeg's interface, version 6.2 on 64 bits. The library refuses another version
 * or size, and mimflow/data/fast_decode.py compares a picture with Pillow's before it trusts it. */
enum { INTERFACE = 62, GREY = 1, YCC = 3, RGBX = 7, MARGIN = 16 };

struct report {
    void (*fail)(void *);
    void *emit_message;
    void (*print)(void *);
    void *rest[2];
    char about[88];
    long num_warnings;
    char tables[256];
};

struct decoder {
    struct report *report;
    void *memory, *progress, *client;
    int is_decoder, state;
    void *source;
    unsigned width, height;
    int channels, colours, out_colours;
    unsigned scale_num, scale_denom;
    char choices[60];
    unsigned out_width, out_height;
    char inside[632 - 144];
};

_Static_assert(offsetof(struct report, num_warnings) == 128, "libjpeg 6.2 on 64 bits");
_Static_assert(offsetof(struct decoder, out_width) == 136, "libjpeg 6.2 on 64 bits");
_Static_assert(sizeof(struct decoder) == 632, "libjpeg 6.2 on 64 bits");

static struct {
    void *(*report)(struct report *);
    void (*create)(struct decoder *, int, size_t);
    void (*destroy)(struct decoder *);
    void (*read_from)(struct decoder *, const uint8_t *, unsigned long);
    int (*read_header)(struct decoder *, int);
    int (*start)(struct decoder *);
    unsigned (*read_rows)(struct decoder *, uint8_t **, unsigned);
    unsigned (*skip_rows)(struct decoder *, unsigned);
    void (*keep_columns)(struct decoder *, unsigned *, unsigned *);
} jpeg;

/* 0 when the library at `path` has all that is needed. */
int open_library(const char *path)
{
    static const char *names[] = {
        "jpeg_std_error", "jpeg_CreateDecompress", "jpeg_destroy_decompress", "jpeg_mem_src",
        "jpeg_read_header", "jpeg_start_decompress", "jpeg_read_scanlines", "jpeg_skip_scanlines",
        "jpeg_crop_scanline"};
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL), **place = (void **)&jpeg;
    for (int i = 0; library && i < 9; i++)
        if (!(place[i] = dlsym(library, names[i])))
            return 1;
    return !library;
}

/* Weights of one direction: out[i] = sum over t of weight[i][t] * in[first[i] + t]. */
struct weights {
    int taps;
    int *first;
    int32_t *weight;
};

static double cubic(double x)
{
    x = fabs(x);
    if (x < 1)
        return (1.5 * x - 2.5) * x * x + 1;
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0;
}

/* Of `count` outputs over the part from `start` to `stop` of `length` inputs; every output has the
 * same number of taps inside, of which those beyond its support weigh 0. */
static int weigh(struct weights *w, int length, float start, float stop, int count)
{
    double scale = (double)(stop - start) / count, wide = scale < 1 ? 1 : scale;
    double support = 2 * wide, inverse = 1 / wide;
    w->taps = (int)ceil(2 * support) < length ? (int)ceil(2 * support) : length;
    w->first = malloc(count * sizeof *w->first);
    w->weight = calloc((size_t)count * (w->taps + 1), sizeof *w->weight);
    double *value = malloc((w->taps + 2) * sizeof *value);
    int failed = !w->first || !w->weight || !value;
    for (int i = 0; !failed && i < count; i++) {
        double centre = start + (i + 0.5) * scale, total = 0;
        int first = (int)(centre - support + 0.5), last = (int)(centre + support + 0.5);
        first = first < 0 ? 0 : first;
        last = last > length ? length : last;
        for (int t = 0; t < last - first; t++)
            total += value[t] = cubic((t + first - centre + 0.5) * inverse);
        w->first[i] = first + w->taps > length ? length - w->taps : first;
        int32_t *weight = w->weight + (size_t)i * w->taps + first - w->first[i];
        for (int t = 0; t < last - first; t++) {
            double share = (total != 0 ? value[t] / total : value[t]) * (1 << 22);
            weight[t] = (int32_t)(share < 0 ? share - 0.5 : share + 0.5);
        }
    }
    free(value);
    return failed;
}

static void forget(struct weights *w)
{
    free(w->first);
    free(w->weight);
}

typedef int32_t v16 __attribute__((vector_size(64)));

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define EVERY_CPU __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define EVERY_CPU
#endif
#define ROUND (1 << 21)
#define CLIP(x) (((x) >> 22) < 0 ? 0 : ((x) >> 22) > 255 ? 255 : ((x) >> 22))

/* Four rows at once, whose pixels stand in turn (a pixel of each, then the next), from four values
 * to three bytes; the rows of `out` lie `stride` apart and are written one byte past their end. */
EVERY_CPU static void along(const v16 *rows, const struct weights *w, int count, size_t stride,
                            uint8_t *out)
{
    for (int i = 0; i < count; i++) {
        const int32_t *weight = w->weight + (size_t)i * w->taps;
        const v16 *in = rows + w->first[i];
        v16 sum = (v16){} + ROUND;
        for (int t = 0; t < w->taps; t++)
            sum += in[t] * weight[t];
        int32_t values[16];
        uint8_t bytes[16];
        memcpy(values, &sum, 64);
        for (int k = 0; k < 16; k++)
            bytes[k] = CLIP(values[k]);
        for (int row = 0; row < 4; row++)
            memcpy(out + row * stride + 3 * i, bytes + 4 * row, 4);
    }
}

/* Rows `stride` apart to `count` rows of `bytes` bytes without gaps; `sums` has room for one. */
EVERY_CPU static void across(const uint8_t *restrict rows, size_t stride, const struct weights *w,
                             int top, int count, size_t bytes, int32_t *restrict sums,
                             uint8_t *restrict out)
{
    for (int i = 0; i < count; i++, out += bytes) {
        const int32_t *weight = w->weight + (size_t)i * w->taps;
        const uint8_t *in = rows + (w->first[i] - top) * stride;
        int t = 0;
        for (size_t x = 0; x < bytes; x++)
            sums[x] = ROUND;
        for (; t + 4 <= w->taps; t += 4, in += 4 * stride) { /* four at once: half the stores */
            int32_t a = weight[t], b = weight[t + 1], c = weight[t + 2], d = weight[t + 3];
            const uint8_t *in1 = in + stride, *in2 = in1 + stride, *in3 = in2 + stride;
            for (size_t x = 0; x < bytes; x++)
                sums[x] += in[x] * a + in1[x] * b + in2[x] * c + in3[x] * d;
        }
        for (; t < w->taps; t++, in += stride)
            for (size_t x = 0; x < bytes; x++)
                sums[x] += in[x] * weight[t];
        for (size_t x = 0; x < bytes; x++)
            out[x] = CLIP(sums[x]);
    }
}

/* Puts a row of pixels of `channels` bytes in place `row` of four, as 32-bit values. */
EVERY_CPU static void mix(const uint8_t *restrict pixels, int width, int channels, v16 *mixed,
                          int row)
{
    int32_t *restrict out = (int32_t *)mixed + 4 * row;
    if (channels == 4)
        for (int x = 0; x < width; x++)
            for (int c = 0; c < 4; c++)
                out[16 * x + c] = pixels[4 * x + c];
    else
        for (int x = 0; x < width; x++)
            for (int c = 0; c < 3; c++)
                out[16 * x + c] = pixels[3 * x + c];
}

/* The box (left, top, right, bottom) of `pixels` (height, width, channels), 3 or 4 channels, to
 * `out` (rows, columns, 3). 0, or 1 when there is no memory. */
int resize(const uint8_t *pixels, int width, int height, int channels, const float *box,
           int columns, int rows, uint8_t *out)
{
    struct weights x, y;
    size_t stride = (3 * (size_t)columns + 16) / 16 * 16; /* at least a byte more than needed */
    int failed = weigh(&x, width, box[0], box[2], columns);
    failed |= weigh(&y, height, box[1], box[3], rows);
    int top = failed ? 0 : y.first[0], bottom = failed ? 0 : y.first[rows - 1] + y.taps;
    v16 *mixed = aligned_alloc(sizeof *mixed, width * sizeof *mixed);
    int32_t *sums = malloc(stride * sizeof *sums);
    uint8_t *between = malloc((bottom - top + 3) * stride);
    failed |= !mixed || !sums || !between;
    for (int row = top; !failed && row < bottom; row += 4) {
        for (int i = 0; i < 4 && row + i < bottom; i++)
            mix(pixels + (size_t)(row + i) * width * channels, width, channels, mixed, i);
        along(mixed, &x, columns, stride, between + (row - top) * stride);
    }
    if (!failed)
        across(between, stride, &y, top, rows, 3 * (size_t)columns, sums, out);
    free(between);
    free(sums);
    free(mixed);
    forget(&y);
    forget(&x);
    return failed;
}

struct run {
    struct decoder decoder;
    struct report report;
    jmp_buf failed;
};

static void fail(void *decoder)
{
    longjmp(((struct run *)decoder)->failed, 1);
}

static void print_nothing(void *decoder)
{
    (void)decoder;
}

/* Opens a file of `width` by `height` pixels at 1/factor; output begins at column *left, a margin
 * before the window's: upsampling of colour looks beside a pixel. */
static int begin(struct decoder *d, const uint8_t *data, size_t bytes, int width, int height,
                 int factor, const int *window, unsigned *left)
{
    jpeg.create(d, INTERFACE, sizeof *d);
    jpeg.read_from(d, data, bytes);
    jpeg.read_header(d, 1);
    int known = d->colours >= GREY && d->colours <= YCC;
    if (d->width != (unsigned)width || d->height != (unsigned)height || !known)
        return 1;
    d->scale_num = 1;
    d->scale_denom = factor;
    d->out_colours = RGBX;
    jpeg.start(d);
    if (window[2] > (int)d->out_width || window[3] > (int)d->out_height)
        return 1;
    *left = window[0] < MARGIN ? 0 : window[0] - MARGIN;
    int right = window[2] + MARGIN < (int)d->out_width ? window[2] + MARGIN : (int)d->out_width;
    unsigned columns = right - *left;
    if (columns < d->out_width)
        jpeg.keep_columns(d, left, &columns);
    return 0;
}

/* `window` (left, top, right, bottom) of a JPEG file of `width` by `height` pixels, decoded at
 * 1/factor, to `out` (bottom - top, right - left, 4). 0 when done; else Pillow says what is wrong
 * with the file, if anything. */
int decode(const uint8_t *data, size_t bytes, int width, int height, int factor, const int *window,
           uint8_t *out)
{
    struct run *run = calloc(1, sizeof *run);
    if (!run)
        return 1;
    struct decoder *d = &run->decoder;
    uint8_t *volatile row = NULL;
    volatile int failed = 1;
    d->report = jpeg.report(&run->report);
    run->report.fail = fail;
    run->report.print = print_nothing;
    unsigned left = 0;
    if (setjmp(run->failed) == 0 &&
        begin(d, data, bytes, width, height, factor, window, &left) == 0 &&
        (row = malloc(4 * (size_t)d->out_width))) {
        size_t line = 4 * (size_t)(window[2] - window[0]);
        uint8_t *rows[1] = {row};
        if (window[1])
            jpeg.skip_rows(d, window[1]);
        for (int y = window[1]; y < window[3]; y++) {
            jpeg.read_rows(d, rows, 1);
            memcpy(out + (y - window[1]) * line, row + 4 * (window[0] - left), line);
        }
        failed = run->report.num_warnings != 0;
    }
    jpeg.destroy(d);
    free(row);
    free(run);
    return failed;
}
