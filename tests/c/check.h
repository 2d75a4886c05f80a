/* CHECK: the assertion of the unit tests. It counts in every build. */
#ifndef CHECK_H
#define CHECK_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK(x)                                                           \
    do {                                                                   \
        if (!(x)) {                                                        \
            fprintf(stderr, "%s:%d: failed: %s (errno %d)\n", __FILE__,    \
                    __LINE__, #x, errno);                                  \
            exit(1);                                                       \
        }                                                                  \
    } while (0)

#endif
