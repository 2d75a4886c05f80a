/* tls: what the engine asks of the TLS of a connection, which Python has.
 *
 * A connection with a `tls` reads and ends by these functions; all else (what is
 * gathered, sent, parked) is about the octets on the wire, which TLS has made. Its
 * handshake is a phase of its own, and a task for Python at each news.
 *
 *     accept -> HANDSHAKE  --TS_TASK_HANDSHAKE, until ts_reactor_shaken()-->  HEAD
 *
 * Threads: called by the owner of the connection, with no lock of the engine's held,
 * with the GIL or without: whoever implements them takes it.
 *
 * What may not live here: TLS itself (_tls.pyx).
 */
#ifndef TS_TLS_H
#define TS_TLS_H

struct ts_conn;

struct ts_tls {
    /* As ts_conn_fill(): some octets into the window. What was received and is not
     * decrypted yet counts as readable. 0 or -ENOMEM. */
    int (*fill)(struct ts_conn *c);

    /* The connection ends: the session is given up, and c->session is NULL. notify:
     * the peer is told first (close_notify), if the kernel takes it. */
    void (*end)(struct ts_conn *c, int notify);
};

#endif
