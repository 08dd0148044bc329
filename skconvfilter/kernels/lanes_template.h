/* The kernels for one instruction set and one dtype. lanes.c includes this file once for
 * each, with these macros:
 *
 * ISA, DTYPE        name of the instruction set, f32 or f64
 * TARGET            attribute that compiles a function for the instruction set
 * REAL, VEC, WIDTH  scalar, vector and number of scalars in it
 * OP(name)          operation on vectors: load, store, set1, add, mul, fmadd; positive (1
 *                   where a number is, else 0) and relu (0 for -inf, but NaN for NaN)
 * TILE_1, TILE_2, TILE_4  patches in a tile with that many filters
 *
 * A tile of patches x filters lives in registers: first its responses, then, as vectors
 * of 0 and 1, which of them are positive: a product with 0 or 1 and a sum are one
 * instruction where there is FMA, and more masks fit into vector registers than into mask
 * registers. */

#define JOIN_(name, isa, dtype) lanes_##name##_##isa##_##dtype
#define JOIN(name, isa, dtype) JOIN_(name, isa, dtype)
#define NAME(name) JOIN(name, ISA, DTYPE)
#define LANES ((ptrdiff_t)(GROUP_BYTES / sizeof(REAL)))
#define MAX_TILE 12
/* Tiles that go through the runs together. */
#define MAX_STRIP 4

/* Where patch i of a tile begins. With neighbours `step` elements apart, a number that the
 * compiler knows, all of them have one address register in common; else, with step 0, each
 * has its own, and many of them are more than a processor has. */
#define PATCH(i) (step ? patch[0] + (i) * step * LANES : patch[i])

/* Adds a tile of patches x filters to the sums of one vector of samples.
 * `weights` is (patch_dim, n_filters), and `bias` NULL or (n_filters,) behind it; `sums` is
 * (patch_dim, n_filters), and behind it with a bias the numbers of active patches,
 * (n_filters,); for the activations it is (n_filters,). */
INLINE TARGET void NAME(tile)(const int n_patches, const int step, const int n_filters,
                              const mode what, const lanes_problem *problem,
                              const REAL *x, const ptrdiff_t *base, const REAL *weights,
                              const REAL *bias, REAL *sums)
{
    const ptrdiff_t patch_dim = problem->patch_dim, *tap = problem->tap;
    const REAL *gate = problem->gate;
    const REAL *patch[MAX_TILE];
    VEC response[MAX_TILE * MAX_FILTERS], active[MAX_TILE * MAX_FILTERS];
    UNROLL
    for (int i = 0; i < n_patches; i++)
        patch[i] = x + base[i] * LANES;
    UNROLL
    for (int j = 0; j < n_patches * n_filters; j++)
        response[j] = OP(set1)(what == MEAN_PATCHES ? 1 : bias ? bias[j % n_filters] : 0);
    if (what != MEAN_PATCHES)
        for (ptrdiff_t run = 0; run < patch_dim; run += problem->run_length) {
            const entries span = nonzero_entries(problem, n_patches, step, base, run);
            for (ptrdiff_t t = span.first; t < span.end; t++) {
                const ptrdiff_t offset = tap[t] * LANES;
                VEC entry[MAX_TILE];
                UNROLL
                for (int i = 0; i < n_patches; i++)
                    entry[i] = OP(load)(PATCH(i) + offset);
                UNROLL
                for (int r = 0; r < n_filters; r++) {
                    const VEC weight = OP(set1)(weights[t * n_filters + r]);
                    UNROLL
                    for (int i = 0; i < n_patches; i++)
                        response[i * n_filters + r] =
                            OP(fmadd)(entry[i], weight, response[i * n_filters + r]);
                }
            }
        }
    if (what == ACTIVATIONS) {
        UNROLL
        for (int r = 0; r < n_filters; r++) {
            VEC sum = OP(load)(sums + r * LANES);
            UNROLL
            for (int i = 0; i < n_patches; i++)
                sum = OP(add)(sum, OP(relu)(response[i * n_filters + r]));
            OP(store)(sums + r * LANES, sum);
        }
        return;
    }
    UNROLL
    for (int j = 0; j < n_patches * n_filters; j++)
        active[j] = OP(positive)(response[j]);
    if (gate) {
        VEC inside[MAX_TILE];
        UNROLL
        for (int i = 0; i < n_patches; i++)
            inside[i] = OP(set1)(bias ? gate[patch_dim] : 0);
        for (ptrdiff_t run = 0; run < patch_dim; run += problem->run_length) {
            const entries span = nonzero_entries(problem, n_patches, step, base, run);
            for (ptrdiff_t t = span.first; t < span.end; t++) {
                const VEC weight = OP(set1)(gate[t]);
                UNROLL
                for (int i = 0; i < n_patches; i++)
                    inside[i] = OP(fmadd)(OP(load)(PATCH(i) + tap[t] * LANES), weight, inside[i]);
            }
        }
        UNROLL
        for (int i = 0; i < n_patches; i++)
            inside[i] = OP(positive)(inside[i]);
        UNROLL
        for (int j = 0; j < n_patches * n_filters; j++)
            active[j] = OP(mul)(active[j], inside[j / n_filters]);
    }
    for (ptrdiff_t run = 0; run < patch_dim; run += problem->run_length) {
        const entries span = nonzero_entries(problem, n_patches, step, base, run);
        for (ptrdiff_t t = span.first; t < span.end; t++) {
            const ptrdiff_t offset = tap[t] * LANES;
            VEC entry[MAX_TILE];
            UNROLL
            for (int i = 0; i < n_patches; i++)
                entry[i] = OP(load)(PATCH(i) + offset);
            UNROLL
            for (int r = 0; r < n_filters; r++) {
                VEC sum = OP(load)(sums + (t * n_filters + r) * LANES);
                UNROLL
                for (int i = 0; i < n_patches; i++)
                    sum = OP(fmadd)(active[i * n_filters + r], entry[i], sum);
                OP(store)(sums + (t * n_filters + r) * LANES, sum);
            }
        }
    }
    if (bias) {
        UNROLL
        for (int r = 0; r < n_filters; r++) {
            REAL *counts = sums + (patch_dim * n_filters + r) * LANES;
            VEC sum = OP(load)(counts);
            UNROLL
            for (int i = 0; i < n_patches; i++)
                sum = OP(add)(sum, active[i * n_filters + r]);
            OP(store)(counts, sum);
        }
    }
}

/* Some tiles of neighbours for one filter, all of them one run after another, as a long
 * window has more entries than the cache nearest to the processor holds. The same sums in
 * the same order as tile by tile. */
INLINE TARGET void NAME(strip)(const int tile, const mode what,
                               const lanes_problem *problem, const REAL *group,
                               const ptrdiff_t *base, const int n_tiles,
                               const REAL *weights, const REAL *bias, REAL *sums)
{
    const ptrdiff_t patch_dim = problem->patch_dim, *tap = problem->tap;
    ALIGNED REAL strip[MAX_STRIP * MAX_TILE * LANES];
    const ptrdiff_t n = n_tiles * tile * LANES;
    const VEC first = OP(set1)(what == MEAN_PATCHES ? 1 : bias ? bias[0] : 0);
    for (ptrdiff_t j = 0; j < n; j += WIDTH)
        OP(store)(strip + j, first);
    for (ptrdiff_t run = 0; run < patch_dim && what != MEAN_PATCHES;
         run += problem->run_length)
        for (int j = 0; j < n_tiles; j++) {
            const ptrdiff_t *patch = base + j * tile;
            const entries span = nonzero_entries(problem, tile, 1, patch, run);
            for (ptrdiff_t lane = 0; lane < LANES; lane += WIDTH) {
                const REAL *x = group + *patch * LANES + lane;
                REAL *out = strip + j * tile * LANES + lane;
                VEC response[MAX_TILE];
                UNROLL
                for (int i = 0; i < tile; i++)
                    response[i] = OP(load)(out + i * LANES);
                for (ptrdiff_t t = span.first; t < span.end; t++) {
                    const VEC weight = OP(set1)(weights[t]);
                    UNROLL
                    for (int i = 0; i < tile; i++)
                        response[i] = OP(fmadd)(OP(load)(x + (tap[t] + i) * LANES), weight,
                                                response[i]);
                }
                UNROLL
                for (int i = 0; i < tile; i++)
                    OP(store)(out + i * LANES, response[i]);
            }
        }
    if (what == ACTIVATIONS) {
        for (ptrdiff_t j = 0; j < n; j += WIDTH) {
            REAL *sum = sums + j % LANES;
            OP(store)(sum, OP(add)(OP(load)(sum), OP(relu)(OP(load)(strip + j))));
        }
        return;
    }
    for (ptrdiff_t j = 0; j < n; j += WIDTH)
        OP(store)(strip + j, OP(positive)(OP(load)(strip + j)));
    for (ptrdiff_t run = 0; run < patch_dim; run += problem->run_length)
        for (int j = 0; j < n_tiles; j++) {
            const ptrdiff_t *patch = base + j * tile;
            const entries span = nonzero_entries(problem, tile, 1, patch, run);
            for (ptrdiff_t lane = 0; lane < LANES; lane += WIDTH) {
                const REAL *x = group + *patch * LANES + lane;
                VEC active[MAX_TILE];
                UNROLL
                for (int i = 0; i < tile; i++)
                    active[i] = OP(load)(strip + (j * tile + i) * LANES + lane);
                for (ptrdiff_t t = span.first; t < span.end; t++) {
                    VEC sum = OP(load)(sums + t * LANES + lane);
                    UNROLL
                    for (int i = 0; i < tile; i++)
                        sum = OP(fmadd)(active[i], OP(load)(x + (tap[t] + i) * LANES), sum);
                    OP(store)(sums + t * LANES + lane, sum);
                }
            }
        }
    if (bias)
        for (ptrdiff_t j = 0; j < n; j += WIDTH) {
            REAL *count = sums + patch_dim * LANES + j % LANES;
            OP(store)(count, OP(add)(OP(load)(count), OP(load)(strip + j)));
        }
}

/* All patches of one group for a few filters. `next` is the group that comes next, or
 * NULL: the tiles fetch it into the cache, a little each. */
INLINE TARGET void NAME(group)(const int tile, const int n_filters, const mode what,
                               const lanes_problem *problem, const REAL *group,
                               const REAL *next, const REAL *weights, REAL *sums)
{
    const ptrdiff_t k = problem->n_patches, p = problem->patch_dim;
    const ptrdiff_t *base = problem->base;
    const REAL *bias = problem->has_bias ? weights + p * n_filters : NULL;
    const ptrdiff_t n_rows = what == ACTIVATIONS ? 1 : p + problem->has_bias;
    const ptrdiff_t n_sums = n_rows * n_filters;
    const ptrdiff_t n_fetched = next ? (problem->n_features + k - 1) / k : 0;
    memset(sums, 0, (size_t)(n_sums * LANES) * sizeof(REAL));
    for (ptrdiff_t i = 0, n; i < k; i += n) {
        n = k - i < tile ? 1 : tile;
        const int neighbours = are_neighbours(base + i, n);
        int n_tiles = 0;
        if (n_filters == 1 && problem->long_runs && !problem->gate)
            while (n_tiles < MAX_STRIP && (n_tiles + 1) * tile <= k - i &&
                   are_neighbours(base + i + n_tiles * tile, tile))
                n_tiles++;
        if (n_tiles > 1)
            n = n_tiles * tile;
        for (ptrdiff_t j = i * n_fetched; j < (i + n) * n_fetched; j++)
            PREFETCH(next + j * LANES);
        if (n_tiles > 1) {
            NAME(strip)(tile, what, problem, group, base + i, n_tiles, weights, bias, sums);
            continue;
        }
        for (ptrdiff_t lane = 0; lane < LANES; lane += WIDTH)
            if (n == 1)
                NAME(tile)(1, 0, n_filters, what, problem, group + lane, base + i, weights,
                           bias, sums + lane);
            else if (neighbours)
                NAME(tile)(tile, 1, n_filters, what, problem, group + lane, base + i,
                           weights, bias, sums + lane);
            else
                NAME(tile)(tile, 0, n_filters, what, problem, group + lane, base + i,
                           weights, bias, sums + lane);
    }
}

/* One group for all filters, a few at a time; `weights` as for a tile, one after the other. */
INLINE TARGET void NAME(filters)(const mode what, const lanes_problem *problem,
                                 const REAL *group, const REAL *next,
                                 const REAL *weights, REAL *sums, REAL *out)
{
    const ptrdiff_t n_weights = problem->patch_dim + problem->has_bias;
    const ptrdiff_t n_rows = what == ACTIVATIONS ? 1 : n_weights;
    const VEC scale = OP(set1)((REAL)1 / (REAL)problem->n_patches);
    for (ptrdiff_t first = 0, n; first < problem->n_filters; first += n) {
        n = FILTERS_AT_A_TIME(problem->n_filters - first);
        if (n == 4)
            NAME(group)(TILE_4, 4, what, problem, group, next, weights, sums);
        else if (n == 2)
            NAME(group)(TILE_2, 2, what, problem, group, next, weights, sums);
        else
            NAME(group)(TILE_1, 1, what, problem, group, next, weights, sums);
        next = NULL;
        weights += n * n_weights;
        for (ptrdiff_t r = 0; r < n; r++)
            for (ptrdiff_t t = 0; t < n_rows; t++, out += problem->n_groups * LANES)
                for (ptrdiff_t lane = 0; lane < LANES; lane += WIDTH)
                    OP(store)(out + lane,
                              OP(mul)(OP(load)(sums + (t * n + r) * LANES + lane), scale));
    }
}

INLINE TARGET void NAME(run)(const mode what, const lanes_problem *problem,
                             const REAL *groups, const REAL *filters, REAL *scratch,
                             REAL *out)
{
    const ptrdiff_t n_weights = problem->patch_dim + problem->has_bias;
    const ptrdiff_t n_filters = problem->n_filters, step = problem->n_features * LANES;
    REAL *sums = scratch, *weights = scratch + n_weights * MAX_FILTERS * LANES;
    if (what != MEAN_PATCHES)
        for (ptrdiff_t first = 0, n; first < n_filters; first += n) {
            n = FILTERS_AT_A_TIME(n_filters - first);
            for (ptrdiff_t t = 0; t < n_weights; t++)
                for (ptrdiff_t r = 0; r < n; r++)
                    weights[first * n_weights + t * n + r] =
                        filters[(first + r) * n_weights + t];
        }
    for (ptrdiff_t g = 0; g < problem->n_groups; g++, groups += step, out += LANES)
        NAME(filters)(what, problem, groups,
                      g + 1 < problem->n_groups ? groups + step : NULL, weights, sums, out);
}

#define KERNEL(name, what)                                                              \
    static TARGET void NAME(name)(const lanes_problem *problem, const void *groups,     \
                                  const void *filters, void *scratch, void *out)        \
    {                                                                                   \
        NAME(run)(what, problem, groups, filters, scratch, out);                 \
    }
KERNEL(active_mean_patches, ACTIVE_MEAN_PATCHES)
KERNEL(mean_activations, ACTIVATIONS)
KERNEL(mean_patches, MEAN_PATCHES)

#undef KERNEL
#undef PATCH
#undef MAX_TILE
#undef MAX_STRIP
#undef LANES
#undef NAME
#undef JOIN
#undef JOIN_
#undef DTYPE
#undef REAL
#undef VEC
#undef WIDTH
#undef OP
