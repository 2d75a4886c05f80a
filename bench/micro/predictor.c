/* predictor: what it costs a request to ask whether its handler will block (csrc/predictor.c).
 *
 *     predictor [ROUNDS]
 *
 * `key` is the hash of method and path, over paths of about 20 octets; `look-up` and `update` are with the key at hand,
 * over routes of which a quarter block. */
#include "predictor.h"
#include "timing.h"

#include <string.h>

static const char *const paths[] = {
    "/",
    "/articles/2024/06/how",
    "/user/4711/settings",
    "/static/app.9f3c.css",
    "/api/v1/orders/17",
    "/search?q=leader+and+followers",
    "/health",
    "/api/v1/orders/18/lines",
};
enum { PATHS = sizeof paths / sizeof *paths };

struct table {
    struct ts_predictor predictor;
    uint32_t key[PATHS];
    size_t length[PATHS];
};

static uint64_t make_keys(void *context, uint64_t n)
{
    const struct table *t = context;
    uint64_t sum = 0;
    for (uint64_t i = 0; i < n; i++)
        sum += ts_predict_key("GET", 3, paths[i % PATHS], t->length[i % PATHS]);
    return sum;
}

static uint64_t look_up(void *context, uint64_t n)
{
    const struct table *t = context;
    uint64_t sum = 0;
    for (uint64_t i = 0; i < n; i++)
        sum += ts_predict(&t->predictor, t->key[i % PATHS]);
    return sum;
}

static uint64_t update(void *context, uint64_t n)
{
    struct table *t = context;
    for (uint64_t i = 0; i < n; i++)
        ts_predict_learn(&t->predictor, t->key[i % PATHS], i % PATHS < PATHS / 4, i % PATHS < PATHS / 4);
    return ts_predict(&t->predictor, t->key[0]);
}

int main(int argc, char **argv)
{
    static struct table t;
    int rounds = timing_rounds(argc, argv, 1);

    ts_predict_init(&t.predictor);
    for (size_t i = 0; i < PATHS; i++) {
        t.length[i] = strlen(paths[i]);
        t.key[i] = ts_predict_key("GET", 3, paths[i], t.length[i]);
    }
    update(&t, 8 * PATHS);
    timing_run("key", make_keys, &t, rounds, 0);
    timing_run("look-up", look_up, &t, rounds, 0);
    timing_run("update", update, &t, rounds, 0);
    return 0;
}
