/* What load is asked to do.
 *
 *     ./load MODE --port P [--connections N] [--seconds S] [--size OCTETS]
 *                 [--slow-every K] [--path PATH]
 *
 * mixed: GET /slow once in K (100), staggered by connection, else GET /fast.
 * download: GET / or PATH, the body thrown away by the kernel, so that the reader is
 * not what is measured; with --size its length must be that, without it all
 * lengths must be the same. upload: POST / of SIZE octets (10 MiB) in pieces of
 * 64 KiB. echo: lines of SIZE octets (64) over TCP. udp: datagrams of SIZE
 * octets (64); 100 ms without the answer is an error. idle: one GET / on each
 * connection, then "ready" is printed, and all are kept until stdin ends; a
 * connection that is closed meanwhile is an error. */
#ifndef LOAD_OPTIONS_H
#define LOAD_OPTIONS_H

#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    LINE = 1048576,  /* the longest */
    DATAGRAM = 65507 /* the longest */
};

enum mode { MIXED, DOWNLOAD, UPLOAD, ECHO, UDP, IDLE, MODES };
static const char *const mode_names[MODES] = {"mixed", "download", "upload",
                                              "echo",  "udp",      "idle"};

struct load {
    enum mode mode;
    bool lines; /* of TCP or datagrams, not HTTP */
    uint16_t port;
    long connections, size, slow_every;
    long together; /* lines in flight on a connection, sent at once */
    const char *path; /* of a download, without its first slash */
    double seconds;
};

static void usage(void)
{
    fprintf(stderr, "usage: load mixed|download|upload|echo|udp|idle --port P "
                    "[--connections N]\n            [--seconds S] "
                    "[--size OCTETS] [--slow-every K] [--together LINES] [--path PATH]\n");
    exit(2);
}

static double number(const char *text, double least, double most)
{
    char *end;
    double value = strtod(text, &end);

    if (*end || end == text || !(value >= least && value <= most))
        usage();
    return value;
}

/* Prints the usage and ends if something is wrong. */
static struct load read_options(int argc, char **argv)
{
    struct load load = {.connections = 1, .size = -1, .slow_every = 100,
                        .together = 1, .seconds = -1, .path = ""};
    static const struct option options[] = {
        {"port", required_argument, NULL, 'p'},
        {"connections", required_argument, NULL, 'c'},
        {"seconds", required_argument, NULL, 's'},
        {"size", required_argument, NULL, 'o'},
        {"slow-every", required_argument, NULL, 'k'},
        {"together", required_argument, NULL, 't'},
        {"path", required_argument, NULL, 'f'},
        {0}};
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
        switch (option) {
        case 'p': load.port = (uint16_t)number(optarg, 1, 65535); break;
        case 'c': load.connections = (long)number(optarg, 1, 60000); break;
        case 's': load.seconds = number(optarg, 0.001, 3600); break;
        case 'o': load.size = (long)number(optarg, 1, 1 << 30); break;
        case 'k': load.slow_every = (long)number(optarg, 1, 1e9); break;
        case 't': load.together = (long)number(optarg, 1, 1000); break;
        case 'f': load.path = optarg + (*optarg == '/'); break;
        default: usage();
        }
    if (optind != argc - 1 || !load.port)
        usage();
    while (load.mode < MODES &&
           strcmp(argv[optind], mode_names[load.mode]) != 0)
        load.mode++;
    if (load.mode == MODES || (load.mode != ECHO && load.together > 1) ||
        (load.mode == ECHO && load.size > LINE / load.together) ||
        (load.mode == UDP && load.size > DATAGRAM))
        usage();
    if (load.seconds < 0)
        load.seconds = load.mode == IDLE ? 60 : 3;
    load.lines = load.mode == ECHO || load.mode == UDP;
    if (load.size < 0 && load.lines)
        load.size = 64;
    if (load.together > 1)
        load.size *= load.together;
    if (load.size < 0 && load.mode == UPLOAD)
        load.size = 10485760;
    return load;
}

#endif
