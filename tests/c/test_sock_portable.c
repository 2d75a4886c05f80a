/* units: sock.c; sanitizers: address,undefined | thread; libs: -lpthread; flags: -DTS_PORTABLE */
/* test_sock.c on the calls that systems without accept4, eventfd and recvmmsg have. */
#include "test_sock.c"
