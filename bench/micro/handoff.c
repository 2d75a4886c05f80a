/* handoff: the lead from one thread to another, by csrc/leader.c and monitor.c.
 *
 *     handoff [ROUNDS]
 *
 * Two workers. The one that leads enters a handler; the figure is the time from just before that until the other one,
 * which waited as a follower, runs and leads.
 *
 *     stays      no hand-over: enter and exit of a handler that keeps the lead, both together
 *     predicted  the handler is taken to block, and the lead is given away first
 *     taken      nobody knew: the handler runs on, and the monitor takes the lead from it. Most of this is waiting for
 *                its second tick.
 *
 * A round is the median of some hand-overs. */
#include "leader.h"
#include "timing.h"

#include <pthread.h>
#include <stdatomic.h>

enum { HANDOVERS_MAX = 200, PREDICTED = 200, TAKEN = 9, SETTLE_NS = 100000, PATIENCE_NS = 1000000000 };

struct pair {
    struct ts_leader *leader;
    unsigned hint;
    int wanted;                /* hand-overs in this round */
    _Atomic int handed;        /* of them, done */
    _Atomic uint64_t gave;     /* when the lead was given away last; 0: nobody has yet */
    double ns[HANDOVERS_MAX];  /* the leader's */
};

static void sleep_ns(long ns)
{
    nanosleep(&(struct timespec){0, ns}, NULL);
}

/* A worker: takes the lead, notes how long it was under way, waits until the other one must have come to rest as a
 * follower, and gives it away by entering a handler. */
static void *work(void *context)
{
    struct pair *p = context;
    struct ts_worker *w = ts_worker_join(p->leader);

    if (w == NULL)
        timing_fail("cannot join");
    while (ts_lead_wait(p->leader, w, 0) == TS_LEAD) {
        uint64_t now = timing_now(), gave = atomic_exchange(&p->gave, 0);
        if (gave != 0)
            p->ns[atomic_fetch_add(&p->handed, 1)] = (double)(now - gave);
        if (atomic_load(&p->handed) == p->wanted) {
            ts_leader_stop(p->leader);
            continue;
        }
        sleep_ns(SETTLE_NS);
        int before = atomic_load(&p->handed);
        atomic_store(&p->gave, timing_now());
        ts_handler_enter(p->leader, w, p, p->hint);
        for (uint64_t end = timing_now() + PATIENCE_NS; atomic_load(&p->handed) == before && timing_now() < end;)
            sleep_ns(SETTLE_NS); /* as a handler that blocks: it leaves its processor to others */
        ts_handler_exit(p->leader, w);
    }
    ts_worker_leave(p->leader, w);
    return NULL;
}

static struct ts_leader *make_leader(void)
{
    struct ts_leader_config config = {.max_threads = 2};
    struct ts_leader *leader;
    if (ts_leader_new(&leader, &config) != 0)
        timing_fail("no leader");
    return leader;
}

static double hand_over(unsigned hint, int wanted)
{
    struct pair p = {.leader = make_leader(), .hint = hint, .wanted = wanted};
    pthread_t threads[2];

    for (int i = 0; i < 2; i++)
        if (pthread_create(&threads[i], NULL, work, &p) != 0)
            timing_fail("no thread");
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    ts_leader_free(p.leader);
    qsort(p.ns, (size_t)wanted, sizeof *p.ns, timing_order);
    return p.ns[wanted / 2];
}

struct alone {
    struct ts_leader *leader;
    struct ts_worker *worker;
};

static uint64_t stay(void *context, uint64_t n)
{
    struct alone *a = context;
    uint64_t kept = 0;
    for (uint64_t i = 0; i < n; i++) {
        ts_handler_enter(a->leader, a->worker, a, TS_HINT_NONE);
        if (ts_handler_exit(a->leader, a->worker).leads)
            kept++;
        else if (ts_lead_wait(a->leader, a->worker, 0) != TS_LEAD)
            timing_fail("the lead is lost");
    }
    return kept;
}

int main(int argc, char **argv)
{
    int rounds = timing_rounds(argc, argv, 1);
    struct alone a = {.leader = make_leader()};
    double ns[ROUNDS_MAX];

    a.worker = ts_worker_join(a.leader);
    if (a.worker == NULL || ts_lead_wait(a.leader, a.worker, 0) != TS_LEAD)
        timing_fail("cannot lead");
    timing_run("stays", stay, &a, rounds, 0);
    ts_worker_leave(a.leader, a.worker);
    ts_leader_free(a.leader);

    for (int i = 0; i < rounds; i++)
        ns[i] = hand_over(TS_HINT_BLOCKS, PREDICTED);
    timing_report("predicted", ns, rounds, 0);
    for (int i = 0; i < rounds; i++)
        ns[i] = hand_over(TS_HINT_NONE, TAKEN);
    timing_report("taken", ns, rounds, 0);
    return 0;
}
