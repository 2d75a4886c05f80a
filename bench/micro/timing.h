/* timing: how the C programs of this folder measure and report.
 *
 * A stage is a function that does its work n times over and returns a number that depends on all of it. n is raised
 * until one round takes ROUND_NS. Each variant of a program is one line of output, for run.py:
 *
 *     VARIANT MINIMUM MEDIAN OCTETS        ns for each time (floating point), octets worked on (0: not meant)
 */
#ifndef TIMING_H
#define TIMING_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ROUND_NS 5000000u
#define ROUNDS_MAX 1000

typedef uint64_t timing_work(void *context, uint64_t n);

static volatile uint64_t timing_sink; /* what a stage returns goes here, so that it must be computed */

static inline uint64_t timing_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline void timing_fail(const char *what)
{
    fprintf(stderr, "%s\n", what);
    exit(1);
}

static inline uint64_t timing_round(timing_work *work, void *context, uint64_t n)
{
    uint64_t began = timing_now();
    timing_sink += work(context, n);
    return timing_now() - began;
}

static inline int timing_order(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Prints the line of values ns[0, rounds), which it sorts. */
static inline void timing_report(const char *variant, double *ns, int rounds, uint64_t octets)
{
    qsort(ns, (size_t)rounds, sizeof *ns, timing_order);
    printf("%s %.3f %.3f %llu\n", variant, ns[0], ns[rounds / 2], (unsigned long long)octets);
    fflush(stdout);
}

static inline void timing_run(const char *variant, timing_work *work, void *context, int rounds, uint64_t octets)
{
    double ns[ROUNDS_MAX];
    uint64_t n = 1;

    while (timing_round(work, context, n) < ROUND_NS / 2)
        n *= 2;
    for (int i = 0; i < rounds; i++)
        ns[i] = (double)timing_round(work, context, n) / (double)n;
    timing_report(variant, ns, rounds, octets);
}

/* The number of rounds, from the command line. */
static inline int timing_rounds(int argc, char **argv, int at)
{
    int rounds = argc > at ? atoi(argv[at]) : 7;
    if (rounds < 1 || rounds > ROUNDS_MAX)
        timing_fail("rounds: 1 to 1000");
    return rounds;
}

/* The whole file, with its length; as many octets more as `room`. */
static inline char *timing_file(const char *path, size_t *length, size_t room)
{
    FILE *file = fopen(path, "rb");
    char *data = NULL;
    long end;

    if (file != NULL && fseek(file, 0, SEEK_END) == 0 && (end = ftell(file)) >= 0 && fseek(file, 0, SEEK_SET) == 0
        && (data = malloc((size_t)end + room + 1)) != NULL && fread(data, 1, (size_t)end, file) == (size_t)end)
        *length = (size_t)end;
    else
        timing_fail("the input file cannot be read");
    fclose(file);
    return data;
}

#endif
