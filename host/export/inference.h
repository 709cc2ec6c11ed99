struct @name@_layer {
    int32_t height, width, channels, words; /* of the input map; words that the channels of a pixel take */
    int32_t kernel_y, kernel_x, stride, pad_y, pad_x;
    int32_t filters, out_height, out_width; /* outputs, before pooling */
    int32_t pool;                           /* side of the square of outputs whose largest counts: 1 or 2 */
    const uint32_t *weight;                 /* [filters][kernel_y][kernel_x][words], a bit is 1 for +1 */
    const int32_t *threshold;               /* [filters]; none in the last layer */
};

@data@

static inline int32_t @name@_popcount(uint32_t v)
{
    v -= (v >> 1) & 0x55555555u;
    v = (v & 0x33333333u) + ((v >> 2) & 0x33333333u);
    v = (v + (v >> 4)) & 0x0f0f0f0fu;
    return (int32_t)((uint32_t)(v * 0x01010101u) >> 24);
}

/* Sum of a window, at the output (oy, ox) of channel m. The map is [planes][height][width][words]; bits beyond the
 * channels are 0 on both sides, and so never differ. Taps outside the map contribute nothing. */
static inline int32_t @name@_sum(const struct @name@_layer *l, const uint32_t *map, int32_t planes, int32_t oy, int32_t ox,
                                 int32_t m)
{
    const uint32_t *w = l->weight + m * l->kernel_y * l->kernel_x * l->words;
    int32_t sum = 0;
    for (int32_t ky = 0; ky < l->kernel_y; ky++) {
        for (int32_t kx = 0; kx < l->kernel_x; kx++, w += l->words) {
            const int32_t y = oy * l->stride + ky - l->pad_y, x = ox * l->stride + kx - l->pad_x;
            if (y < 0 || y >= l->height || x < 0 || x >= l->width)
                continue;
            for (int32_t plane = 0; plane < planes; plane++) {
                const uint32_t *in = map + ((plane * l->height + y) * l->width + x) * l->words;
                int32_t differing = 0;
                for (int32_t i = 0; i < l->words; i++)
                    differing += @name@_popcount(in[i] ^ w[i]);
                sum += (l->channels - 2 * differing) * ((int32_t)1 << plane);
            }
        }
    }
    return sum;
}

/* The same, the largest of the outputs that are pooled. A pool of signs is the sign of this, too. */
static inline int32_t @name@_pooled(const struct @name@_layer *l, const uint32_t *map, int32_t planes, int32_t oy, int32_t ox,
                                    int32_t m)
{
    int32_t best = INT32_MIN;
    for (int32_t y = 0; y < l->pool; y++) {
        for (int32_t x = 0; x < l->pool; x++) {
            const int32_t sum = @name@_sum(l, map, planes, oy * l->pool + y, ox * l->pool + x, m);
            best = sum > best ? sum : best;
        }
    }
    return best;
}

/* Write the map of a hidden layer's signs, as the next layer reads it: bits of a pixel's channels. */
static inline void @name@_hidden(const struct @name@_layer *l, const uint32_t *in, int32_t planes, uint32_t *out)
{
    for (int32_t y = 0; y < l->out_height / l->pool; y++) {
        for (int32_t x = 0; x < l->out_width / l->pool; x++) {
            for (int32_t m = 0; m < l->filters; m++) {
                if (m % 32 == 0)
                    *out++ = 0;
                if (@name@_pooled(l, in, planes, y, x, m) >= l->threshold[m])
                    out[-1] |= (uint32_t)1 << m % 32;
            }
        }
    }
}

/* Write the input's map: bit i of u, the uppermost bits of a pixel, stands in plane i. */
static inline void @name@_input(const struct @name@_layer *l, const uint8_t *image, uint32_t *out)
{
    for (int32_t plane = 0; plane < @NAME@_PLANES; plane++) {
        const uint8_t *pixel = image;
        for (int32_t place = 0; place < l->height * l->width; place++) {
            for (int32_t c = 0; c < l->channels; c++) {
                if (c % 32 == 0)
                    *out++ = 0;
                out[-1] |= (uint32_t)(*pixel++ >> (8 - @NAME@_PLANES + plane) & 1) << c % 32;
            }
        }
    }
}

/* Logits of an image of @NAME@_INPUTS pixels (rows of columns of channels): 256 log2 of each class's probability, up to
 * a number that all classes share. */
static inline void @name@_logits(const uint8_t *image, int32_t *logits)
{
    uint32_t maps[2][@NAME@_MAP_WORDS];
    int32_t planes = @NAME@_PLANES;
    int32_t i = 0;
    @name@_input(@name@_layers, image, maps[0]);
    for (; i < @NAME@_LAYERS - 1; i++) {
        @name@_hidden(&@name@_layers[i], maps[i % 2], planes, maps[(i + 1) % 2]);
        planes = 1;
    }
    for (int32_t m = 0; m < @NAME@_CLASSES; m++) {
        const int64_t sum = @name@_sum(&@name@_layers[i], maps[i % 2], planes, 0, 0, m);
        const int64_t z = (sum * @scale@ - @name@_mean[m]) * @name@_reciprocal[m] + @half@;
        /* rounds down; C leaves open what >> does to negative numbers */
        const int64_t rounded = z < 0 ? ~(~z >> @shift@) : z >> @shift@;
        const int64_t clipped = rounded < -@limit@ ? -@limit@ : rounded > @limit@ ? @limit@ : rounded;
        logits[m] = (int32_t)clipped + @name@_offset[m];
    }
}

/* The class of an image: the first one with the largest logit, 0..@NAME@_CLASSES - 1. */
static inline int @name@_predict(const uint8_t *image)
{
    int32_t logits[@NAME@_CLASSES];
    int best = 0;
    @name@_logits(image, logits);
    for (int m = 1; m < @NAME@_CLASSES; m++)
        best = logits[m] > logits[best] ? m : best;
    return best;
}
