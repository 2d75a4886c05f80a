"""The C units as Cython sees them: declarations alone (csrc/*.h are the contracts)."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t


# A signal that comes just before a wait does not end it: Python's handler has only set a
# flag. So no wait of a thread that looks at signals is longer than this at a time.
cdef enum:
    SIGNAL_NS = 100_000_000


cdef extern from "ts.h" nogil:
    struct ts_span:
        uint32_t off
        uint32_t len


cdef extern from "sock.h" nogil:
    struct ts_addr:
        pass
    enum:
        TS_WAIT_TIMEOUT
        TS_WAIT_READY
        TS_WAIT_WOKEN
        TS_ADDR_TEXT
    Py_ssize_t ts_recv(int fd, void *buf, size_t cap)
    Py_ssize_t ts_recv_wait(int fd, void *buf, size_t cap)
    Py_ssize_t ts_send(int fd, const void *buf, size_t len)
    Py_ssize_t ts_send_file(int fd, int file, int64_t offset, size_t len)
    int64_t ts_file_size(int fd)
    int ts_wait_fd(int fd, bint write, int wake_fd, int64_t timeout_ns)
    int ts_pause(int64_t ns)
    uint32_t ts_unacknowledged(int fd)
    int ts_set_nonblock(int fd, bint on, bint *was)
    int ts_set_nodelay(int fd)
    int ts_addr_text(const ts_addr *addr, char *out, size_t cap, uint16_t *port,
                     uint32_t *flowinfo, uint32_t *scope)
    Py_ssize_t ts_recv_from(int fd, void *buf, size_t cap, ts_addr *from_)
    struct ts_wakefd:
        int read_fd
        int write_fd
    int ts_wakefd_open(ts_wakefd *w)
    void ts_wakefd_close(ts_wakefd *w)
    int ts_wakefd_set(const ts_wakefd *w)
    int ts_wakefd_clear(const ts_wakefd *w)


cdef extern from "file.h" nogil:
    enum ts_file_kind:
        TS_FILE_REGULAR
        TS_FILE_FOLDER
        TS_FILE_OTHER
    struct ts_file_look:
        uint64_t device
        uint64_t inode
        int64_t size
        int64_t modified_ns
        int64_t changed_ns
        ts_file_kind kind
    int ts_file_look_at "ts_file_look" (const char *path, bint follow, ts_file_look *look)
    int ts_file_look_fd(int fd, ts_file_look *look)
    bint ts_file_same(const ts_file_look *a, const ts_file_look *b)
    bint ts_file_is_local(int fd)
    int ts_file_again(int fd)
    int ts_file_open_beneath(int root, const char *path)
    Py_ssize_t ts_file_read_now(int fd, char *into, size_t n, int64_t at)
    Py_ssize_t ts_file_read(int fd, char *into, size_t n, int64_t at)


cdef extern from "buffer.h" nogil:
    struct ts_in:
        char *data
        uint32_t head
        uint32_t pos
        uint32_t end
        uint32_t cap
    uint32_t ts_in_unread(const ts_in *buffer)
    int ts_in_reserve(ts_in *buffer, uint32_t want)
    void ts_in_next_request(ts_in *buffer)
    void ts_in_free(ts_in *buffer)
    struct ts_out:
        int error
        uint32_t pos
        uint32_t end
        char *data
    enum:
        TS_OUT_KEPT
        TS_OUT_SENT
        TS_OUT_BLOCKED
        TS_OUT_FIRST
        TS_IN_FIRST
        TS_OUT_GATHER
        TS_OUT_DIRECT
        TS_STALLED_NS
    uint32_t ts_out_unsent(const ts_out *out)
    int ts_out_write(ts_out *out, int fd, const char *data, size_t len, bint through,
                     size_t *taken)
    int ts_out_add(ts_out *out, const char *data, size_t len)
    int ts_out_flush(ts_out *out, int fd)
    int ts_out_flush_part(ts_out *out, int fd)
    int ts_out_try_flush(ts_out *out, int fd)


cdef extern from "framing.h" nogil:
    enum ts_conn_token:
        TS_CONN_NONE
        TS_CONN_CLOSE
        TS_CONN_KEEP_ALIVE
        TS_CONN_OTHER
    enum ts_refusal:
        TS_REFUSE_NONE
        TS_REFUSE_LINE
        TS_REFUSE_VERSION
        TS_REFUSE_FIELD_LENGTH
        TS_REFUSE_FIELDS
        TS_REFUSE_CUT_OFF
        TS_REFUSE_HEAD_SLOW
        TS_REFUSE_HOST_MISSING
        TS_REFUSE_BODY_LENGTH
        TS_REFUSE_BODY_CHUNKED
        TS_REFUSE_BODY_CUT_OFF
        TS_REFUSE_BODY_SLOW
    const char *ts_refusal_reason(ts_refusal refusal)
    int ts_refusal_status(ts_refusal refusal)


cdef extern from "target.h" nogil:
    enum ts_target:
        TS_TARGET_ORIGIN
        TS_TARGET_ABSOLUTE
        TS_TARGET_AUTHORITY


cdef extern from "scan.h" nogil:
    enum:
        TS_SCAN_PARTIAL
        TS_SCAN_COMPLETE
        TS_SCAN_GENERAL
        TS_SCAN_REFUSED
        TS_MAX_REQUEST_LINE
    struct ts_field:
        ts_span name
        ts_span value
    struct ts_request:
        ts_span line
        ts_span method
        ts_span target
        ts_span authority
        uint32_t line_len
        uint32_t head_len
        uint32_t n_fields
        int64_t content_length
        ts_conn_token connection
        ts_refusal refusal
        ts_target form
        uint8_t minor
        bint chunked
        bint expect_continue
        bint upgrade
        ts_field *fields
    struct ts_limits:
        uint32_t max_request_line
        uint32_t max_line
        uint32_t max_headers
        uint32_t max_head
        bint bare_09
    void ts_request_reset(ts_request *request)
    int ts_scan(ts_request *request, const char *buf, size_t len, const ts_limits *limits)
    int ts_scan_line(ts_request *request, const char *buf, size_t len, const ts_limits *limits)
    int ts_scan_fields(ts_request *request, const char *buf, size_t len,
                       const ts_limits *limits)


cdef extern from "chunked.h" nogil:
    struct ts_chunk_limits:
        uint32_t line
        uint32_t extensions
        uint32_t trailers


cdef extern from "body.h" nogil:
    enum ts_body_kind:
        TS_BODY_NONE
        TS_BODY_LENGTH
        TS_BODY_CHUNKED
        TS_BODY_OPAQUE
        TS_BODY_BAD
    struct ts_body:
        uint8_t kind
        bint decode
        int64_t left
        int64_t content
    void ts_body_begin(ts_body *body, ts_body_kind kind, int64_t length)
    bint ts_body_done(const ts_body *body)
    void ts_body_peek(ts_body *body, const char *data, size_t len,
                      const ts_chunk_limits *limits, size_t *skip, size_t *n)
    void ts_body_took(ts_body *body, const char *data, size_t n, const ts_chunk_limits *limits)
    size_t ts_body_skip(ts_body *body, const char *data, size_t len,
                        const ts_chunk_limits *limits)


cdef extern from "rules.h" nogil:
    struct ts_rules:
        ts_limits head
        ts_chunk_limits chunks
        uint64_t idle_ns
        uint64_t head_ns
        uint64_t body_ns
        uint64_t write_ns
        uint64_t grace_ns
        uint32_t min_rate
        uint32_t drain_max
        uint64_t drain_ns
        int64_t body_max
    void ts_rules_init(ts_rules *rules)
    uint64_t ts_rules_due(const ts_rules *rules, uint64_t without_ns, uint64_t began,
                          uint64_t progress, uint64_t moved)


cdef extern from "tls.h" nogil:
    struct ts_tls:
        int (*fill)(ts_conn *c) noexcept
        void (*end)(ts_conn *c, int notify) noexcept


cdef extern from "conn.h" nogil:
    enum:
        TS_PHASE_HEAD
        TS_PHASE_HANDLER
        TS_PHASE_FLUSH
    struct ts_clock:
        uint64_t moved
    struct ts_conn:
        int fd
        uint8_t phase
        uint8_t scan
        uint64_t timeout_ns
        ts_clock input_clock "input"
        bint readable
        bint hup
        bint eof
        bint broken
        int error
        bint keep
        bint through
        bint lent
        bint linger
        bint abort "aborts"
        bint blank
        int64_t content
        ts_body body
        ts_in input "in"
        ts_request *req
        ts_out out
        ts_addr peer
        void *owner
        const ts_tls *tls
        void *session
    int ts_conn_fill(ts_conn *c)


cdef extern from "reactor.h" nogil:
    enum ts_task:
        TS_TASK_NONE
        TS_TASK_WOKEN
        TS_TASK_INTERRUPTED
        TS_TASK_OPENED
        TS_TASK_HANDSHAKE
        TS_TASK_REQUEST
        TS_TASK_GENERAL
        TS_TASK_TIMEOUT
        TS_TASK_SLOW
        TS_TASK_BROKEN
        TS_TASK_GONE
    const uint64_t TS_LINGER_NS
    const uint32_t TS_SMALL_BODY
    struct ts_turn:
        pass
    struct ts_poller:
        pass
    struct ts_reactor:
        ts_poller *poller
        uint64_t timeout_ns
        uint32_t max_open
        uint32_t max_per_address
        bint draining
        bint pressed
        bint announce
        const ts_tls *tls
        uint64_t handshake_ns
        bint stopping
        uint32_t n_open
        int listener "acceptor.fd"
    int ts_reactor_new(ts_reactor **out, const char *backend)
    void ts_reactor_free(ts_reactor *r)
    void ts_turn_free(ts_turn *turn)
    uint64_t ts_monotonic_ns()
    int ts_reactor_listen(ts_reactor *r, int fd)
    void ts_reactor_unlisten(ts_reactor *r)
    ts_task ts_reactor_next(ts_reactor *r, ts_turn *turn, bint block, int64_t wait_ns,
                            ts_conn **out)
    ts_task ts_reactor_go_on(ts_reactor *r, ts_turn *turn, ts_conn *c)
    ts_task ts_reactor_done(ts_reactor *r, ts_turn *turn, ts_conn *c, bint keep)
    int ts_reactor_set_rules(ts_reactor *r, const ts_rules *rules)
    uint64_t ts_reactor_wait_begins(ts_reactor *r, ts_conn *c, bint write)
    bint ts_reactor_wait_ended(ts_conn *c, bint write)
    void ts_reactor_shaken(ts_conn *c)
    ts_task ts_reactor_rescan(ts_reactor *r, ts_conn *c)
    void ts_reactor_close(ts_reactor *r, ts_turn *turn, ts_conn *c)
    void ts_reactor_shut(ts_reactor *r)
    void ts_reactor_drain(ts_reactor *r, bint draining, bint ending)
    ts_conn *ts_reactor_reap_idle(ts_reactor *r, uint32_t *at)
    ts_conn *ts_reactor_reap_unsent(ts_reactor *r, uint32_t *at)
    ts_conn *ts_reactor_reap(ts_reactor *r, uint32_t *at)
    void ts_reactor_stop(ts_reactor *r)
    void ts_reactor_wake(ts_reactor *r)
    void ts_reactor_before_fork(ts_reactor *r)
    void ts_reactor_forked(ts_reactor *r)
    void ts_reactor_forget(ts_reactor *r, ts_conn *c)
    int ts_reactor_second(ts_reactor *r, ts_conn *c)
    void ts_reactor_take_back(ts_conn *c, int fd)
    bint ts_reactor_flush(void *conn, void *ctx) noexcept


cdef extern from "head.h" nogil:
    struct ts_date:
        int64_t second
    const char *ts_date_at(ts_date *date, int64_t second)
    enum:
        TS_DATE_LEN
    struct ts_head:
        char *data
        uint32_t len
        uint32_t cap
    bint ts_has_control(const char *p, size_t n)
    int ts_head_reserve(ts_head *head, size_t more)
    int ts_head_add(ts_head *head, const char *data, size_t len)
    int ts_head_start(ts_head *head, const char *start, size_t len, const char *date)
    int ts_head_field(ts_head *head, const char *name, size_t name_len, const char *value,
                      size_t value_len)
    void ts_head_free(ts_head *head)


cdef extern from "predictor.h" nogil:
    struct ts_predictor:
        pass
    void ts_predict_init(ts_predictor *p)
    uint32_t ts_predict_key(const char *method, size_t method_len, const char *path,
                            size_t path_len)
    unsigned ts_predict(const ts_predictor *p, uint32_t key)
    void ts_predict_learn(ts_predictor *p, uint32_t key, bint slow, bint blocked)


cdef extern from "patience.h" nogil:
    enum:
        TS_PATIENCE_FROM
    struct ts_patience:
        pass
    void ts_patience_set(ts_patience *p, bint on)

cdef extern from "gate.h" nogil:
    struct ts_gate:
        pass
    void ts_gate_enter(ts_gate *g)
    void ts_gate_leave(ts_gate *g)

cdef extern from "cork.h" nogil:
    struct ts_corks:
        pass
    struct ts_cork:
        pass
    int ts_corks_new(ts_corks **out)
    void ts_corks_forked(ts_corks *corks)
    Py_ssize_t ts_send_more(ts_corks *corks, ts_cork *cork, int fd, const void *buf, size_t n)
    void ts_cork_done(ts_corks *corks, ts_cork *cork)
    void ts_cork_push(ts_corks *corks, ts_cork *cork)

cdef extern from "leader.h" nogil:
    struct ts_leader:
        pass
    struct ts_worker:
        pass
    struct ts_leader_config:
        unsigned max_threads
        uint32_t tick_ns
        bint (*flush)(void *conn, void *ctx) noexcept nogil
        void *ctx
    enum:
        TS_HINT_NONE
        TS_HINT_SUSPECT
        TS_HINT_BLOCKS
    enum ts_lead:
        TS_LEAD
        TS_LEAD_STOP
        TS_LEAD_RETIRE
    struct ts_handler_exit:
        bint leads
        bint slow
        bint blocked
    int ts_leader_new(ts_leader **out, const ts_leader_config *config)
    void ts_leader_free(ts_leader *l)
    ts_worker *ts_worker_join(ts_leader *l)
    void ts_worker_leave(ts_leader *l, ts_worker *w)
    ts_lead ts_lead_wait(ts_leader *l, ts_worker *w, uint64_t idle_ns)
    bint ts_lead_try(ts_leader *l, ts_worker *w)
    bint ts_leads(const ts_worker *w)
    void ts_lead_release(ts_leader *l, ts_worker *w)
    bint ts_lead_wants_spare(ts_leader *l)
    void ts_lead_spare_failed(ts_leader *l)
    void ts_handler_enter(ts_leader *l, ts_worker *w, void *conn, unsigned hint)
    ts_handler_exit ts_handler_exit_ "ts_handler_exit"(ts_leader *l, ts_worker *w)
    void ts_handler_dirty(ts_leader *l, ts_worker *w)
    uint64_t ts_worker_now(ts_worker *w)
    void ts_lead_polls(ts_worker *w)
    void ts_leader_stop(ts_leader *l)
    unsigned ts_leader_threads(ts_leader *l)
    unsigned ts_leader_busy(ts_leader *l)
    bint ts_leader_wait_idle(ts_leader *l, uint64_t timeout_ns)
    void ts_leader_forked(ts_leader *l)
