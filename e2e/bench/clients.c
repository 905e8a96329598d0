/* A fleet of incremental ADS clients in one thread: what a hundred Envoys say on the wire, without what they cost.
 *
 *     clients HOST PORT NODES PROPERTIES
 *
 * NODES is a file with one node id a line: client number i is the node of line i. PROPERTIES is a file with the fields of
 * envoy.config.core.v3.Node beside the id, encoded (an Envoy lists its extensions there: 60 KB).
 *
 * Commands on standard input, one a line: "open FIRST END" connects the clients FIRST to END - 1 at once, "close FIRST
 * END" hangs up. The end of standard input ends the program.
 *
 * Events on standard output, one a line, written when nothing else is to be done. Times are nanoseconds of
 * CLOCK_MONOTONIC, which is the same clock in all processes:
 *
 *     ack CLIENT TIME TYPE NONCE BYTES   a response was read to its end, and its ACK was handed to the kernel
 *     ready CLIENT TIME                  nothing is missing that the client subscribed to
 *     end CLIENT TIME REASON             the stream is over
 *
 * Each client speaks plain HTTP/2 (RFC 9113) on a connection of its own, as Envoy does, and behaves like Envoy 1.40:
 * clusters first and all of them; endpoints of the clusters that want EDS; the ACK of clusters is withheld until their
 * endpoints are there; then listeners; then the routes and secrets that listeners need. A cluster that is removed takes
 * the subscription of its endpoints along. Resources are looked into only for these names: parsing is not what is
 * measured.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum type { CDS, EDS, LDS, RDS, SDS, TYPES };
static const char *const NAME[TYPES] = {"cds", "eds", "lds", "rds", "sds"};
static const char *const URL[TYPES] = {
    "type.googleapis.com/envoy.config.cluster.v3.Cluster",
    "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
    "type.googleapis.com/envoy.config.listener.v3.Listener",
    "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
    "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
};
static const char HTTP_CONNECTION_MANAGER[] =
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
static const char *const SECRETS[] = {"default", "ROOTCA"};

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("clients: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    exit(1);
}

/* ---- bytes ------------------------------------------------------------------------------------------------------ */

struct bytes {
    const uint8_t *at;
    size_t size;
};

struct buffer {
    uint8_t *at;
    size_t size, room;
};

static void append(struct buffer *b, const void *data, size_t size)
{
    if (b->size + size > b->room) {
        b->room = (b->size + size) * 2;
        b->at = realloc(b->at, b->room);
        if (!b->at)
            die("out of memory");
    }
    memcpy(b->at + b->size, data, size);
    b->size += size;
}

static void drop_front(struct buffer *b, size_t size)
{
    b->size -= size;
    memmove(b->at, b->at + size, b->size);
}

static void release(struct buffer *b)
{
    free(b->at);
    *b = (struct buffer){0};
}

static bool equals(struct bytes value, const char *text)
{
    return value.size == strlen(text) && !memcmp(value.at, text, value.size);
}

/* ---- protobuf (encoding.proto: tags, varints, length-delimited fields) --------------------------------------------- */

static void append_varint(struct buffer *b, uint64_t value)
{
    uint8_t out[10];
    size_t n = 0;
    do {
        out[n++] = (uint8_t)(value & 0x7f) | (value > 0x7f ? 0x80 : 0);
        value >>= 7;
    } while (value);
    append(b, out, n);
}

static void append_field(struct buffer *b, int number, const void *data, size_t size)
{
    append_varint(b, (uint64_t)number << 3 | 2);
    append_varint(b, size);
    append(b, data, size);
}

static uint64_t take_varint(struct bytes *rest)
{
    uint64_t value = 0;
    for (int shift = 0; rest->size && shift < 64; shift += 7) {
        uint8_t byte = *rest->at++;
        rest->size--;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return value;
    }
    die("malformed varint");
    return 0;
}

/* Takes the next field; returns its number, or 0 at the end. The value of a field that is not length-delimited is put
 * into `integer`. */
static int take_field(struct bytes *rest, struct bytes *value, uint64_t *integer)
{
    if (!rest->size)
        return 0;
    uint64_t tag = take_varint(rest);
    size_t size = 0;
    *value = (struct bytes){0};
    *integer = 0;
    switch (tag & 7) {
    case 0:
        *integer = take_varint(rest);
        break;
    case 1:
        size = 8;
        break;
    case 2:
        size = take_varint(rest);
        break;
    case 5:
        size = 4;
        break;
    default:
        die("malformed field");
    }
    if (size > rest->size)
        die("truncated field");
    *value = (struct bytes){rest->at, size};
    rest->at += size;
    rest->size -= size;
    return (int)(tag >> 3);
}

/* The last length-delimited field of a number, empty if there is none. */
static struct bytes field(struct bytes message, int wanted)
{
    struct bytes value, found = {0};
    uint64_t integer;
    for (int number; (number = take_field(&message, &value, &integer));)
        if (number == wanted)
            found = value;
    return found;
}

/* ---- names: interned, so that what a client subscribed is a set of bits ---------------------------------------------- */

static struct {
    struct bytes *names;
    uint32_t *slots; /* index + 1 */
    uint32_t count, room;
} interned;

static uint64_t hash_of(struct bytes name)
{
    uint64_t h = 1469598103934665603u; /* FNV-1a */
    for (size_t i = 0; i < name.size; i++)
        h = (h ^ name.at[i]) * 1099511628211u;
    return h ^ h >> 32;
}

static uint32_t *slot_of(struct bytes name)
{
    uint32_t mask = interned.room - 1, i = (uint32_t)hash_of(name) & mask;
    for (; interned.slots[i]; i = (i + 1) & mask) {
        struct bytes known = interned.names[interned.slots[i] - 1];
        if (known.size == name.size && !memcmp(known.at, name.at, name.size))
            break;
    }
    return &interned.slots[i];
}

static uint32_t intern(struct bytes name)
{
    if (interned.count * 2 >= interned.room) {
        interned.room = interned.room ? interned.room * 2 : 4096;
        interned.names = realloc(interned.names, interned.room * sizeof *interned.names);
        free(interned.slots);
        interned.slots = calloc(interned.room, sizeof *interned.slots);
        for (uint32_t i = 0; i < interned.count; i++)
            *slot_of(interned.names[i]) = i + 1;
    }
    uint32_t *slot = slot_of(name);
    if (!*slot) {
        uint8_t *copy = malloc(name.size);
        memcpy(copy, name.at, name.size);
        interned.names[interned.count] = (struct bytes){copy, name.size};
        *slot = ++interned.count;
    }
    return *slot - 1;
}

struct set {
    uint8_t *bits;
    uint32_t room;
};

/* Puts a name in or takes it out; returns whether that changed the set. */
static bool change(struct set *set, uint32_t name, bool in)
{
    if (name >= set->room) {
        uint32_t room = (name / 8 + 1) * 2;
        set->bits = realloc(set->bits, room);
        memset(set->bits + set->room / 8, 0, room - set->room / 8);
        set->room = room * 8;
    }
    uint8_t bit = (uint8_t)(1 << name % 8), *byte = &set->bits[name / 8];
    if (!!(*byte & bit) == in)
        return false;
    *byte ^= bit;
    return true;
}

/* ---- clients ------------------------------------------------------------------------------------------------------ */

enum { FRAME_DATA = 0, FRAME_HEADERS = 1, FRAME_RST_STREAM = 3, FRAME_SETTINGS = 4, FRAME_PING = 6, FRAME_GOAWAY = 7,
       FRAME_WINDOW_UPDATE = 8 };
enum { MAX_FRAME = 16384, REFILL = 1 << 28 };

struct client {
    int number, fd;
    bool open, writing; /* `writing`: epoll waits for room in the socket */

    /* Out: bytes on their way to the socket, and gRPC messages that wait for flow control. */
    struct buffer wire, pending;
    int64_t connection_window, stream_window, initial_window;

    /* In: the frame, then the gRPC message in it, then the field of the response in that. */
    uint8_t frame_head[9], control[64];
    size_t frame_got, control_got;
    uint32_t frame_left, consumed;
    uint8_t message_head[5];
    size_t message_got, message_left, message_size;
    uint64_t varint;
    int varint_shift, field_number; /* `field_number` 0: its tag is being read */
    size_t field_left;
    bool in_field, kept;
    struct buffer value;

    /* The response being read. */
    enum type type;
    char nonce[64];
    int carried; /* resources and removals */
    struct buffer subscribe, unsubscribe; /* names of EDS (from clusters) or RDS (from listeners), as fields */
    int subscribed_now;

    /* What was subscribed, and how many of the names are not answered yet. */
    struct set endpoints, routes;
    int missing[TYPES];
    bool listeners_asked, secrets_asked, ready;
    char withheld[64];        /* nonce of the clusters whose endpoints are missing */
    uint64_t withheld_bytes;
};

static int poller;
static struct client *clients;
static char **node_ids;
static int count;
static struct buffer properties;
static struct sockaddr_in server;
static bool unflushed;

static void event(const struct client *c, const char *what, uint64_t at)
{
    printf("%s %d %llu", what, c->number, (unsigned long long)at);
    unflushed = true;
}

static void hang_up(struct client *c, const char *reason)
{
    if (!c->open)
        return;
    close(c->fd);
    event(c, "end", now());
    printf(" %s\n", reason);
    struct buffer *const all[] = {&c->wire, &c->pending, &c->value, &c->subscribe, &c->unsubscribe};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        release(all[i]);
    free(c->endpoints.bits);
    free(c->routes.bits);
    *c = (struct client){.number = c->number};
}

/* ---- HTTP/2, outwards ----------------------------------------------------------------------------------------------- */

static void flush(struct client *c)
{
    while (c->open && c->wire.size) {
        ssize_t n = send(c->fd, c->wire.at, c->wire.size, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            return hang_up(c, strerror(errno));
        if (n <= 0)
            break;
        drop_front(&c->wire, (size_t)n);
    }
    bool writing = c->wire.size != 0;
    if (writing != c->writing) {
        c->writing = writing;
        struct epoll_event e = {EPOLLIN | (writing ? EPOLLOUT : 0), {.ptr = c}};
        epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &e);
    }
}

static void append_frame(struct client *c, int type, int flags, uint32_t stream, const void *payload, size_t size)
{
    const uint8_t head[9] = {(uint8_t)(size >> 16), (uint8_t)(size >> 8), (uint8_t)size, (uint8_t)type, (uint8_t)flags,
                             (uint8_t)(stream >> 24), (uint8_t)(stream >> 16), (uint8_t)(stream >> 8), (uint8_t)stream};
    append(&c->wire, head, sizeof head);
    append(&c->wire, payload, size);
}

static void append_window_update(struct client *c, uint32_t stream, uint32_t size)
{
    uint32_t payload = htonl(size);
    append_frame(c, FRAME_WINDOW_UPDATE, 0, stream, &payload, sizeof payload);
}

/* Frames what flow control allows of the messages that wait (RFC 9113, section 5.2). */
static void frame_pending(struct client *c)
{
    size_t sent = 0;
    while (sent < c->pending.size && c->connection_window > 0 && c->stream_window > 0) {
        size_t size = c->pending.size - sent;
        int64_t window = c->connection_window < c->stream_window ? c->connection_window : c->stream_window;
        if (size > MAX_FRAME)
            size = MAX_FRAME;
        if ((int64_t)size > window)
            size = (size_t)window;
        append_frame(c, FRAME_DATA, 0, 1, c->pending.at + sent, size);
        c->connection_window -= (int64_t)size;
        c->stream_window -= (int64_t)size;
        sent += size;
    }
    drop_front(&c->pending, sent);
}

static void send_message(struct client *c, const struct buffer *message)
{
    uint8_t head[5] = {0};
    uint32_t size = htonl((uint32_t)message->size);
    memcpy(head + 1, &size, 4);
    append(&c->pending, head, sizeof head);
    append(&c->pending, message->at, message->size);
    frame_pending(c);
    flush(c);
}

/* A literal header field without indexing, neither name nor value Huffman coded (RFC 7541, section 6.2.2). */
static void append_header(struct buffer *b, const char *name, const char *value)
{
    const uint8_t literal = 0, name_size = (uint8_t)strlen(name), value_size = (uint8_t)strlen(value);
    append(b, &literal, 1);
    append(b, &name_size, 1);
    append(b, name, name_size);
    append(b, &value_size, 1);
    append(b, value, value_size);
}

/* ---- the protocol: envoy.service.discovery.v3.DeltaDiscoveryRequest --------------------------------------------------- */

enum { REQUEST_NODE = 1, REQUEST_TYPE = 2, REQUEST_SUBSCRIBE = 3, REQUEST_UNSUBSCRIBE = 4, REQUEST_NONCE = 6 };
enum { RESPONSE_RESOURCE = 2, RESPONSE_TYPE = 4, RESPONSE_NONCE = 5, RESPONSE_REMOVED = 6 };

/* Asks for a type: `names` are subscriptions and unsubscriptions as encoded fields, `nonce` is what it ACKs, if any. */
static void ask(struct client *c, enum type type, const char *nonce, const struct buffer *names, bool first)
{
    static struct buffer message, node;
    message.size = node.size = 0;
    if (first) {
        append_field(&node, 1, node_ids[c->number], strlen(node_ids[c->number]));
        append(&node, properties.at, properties.size);
        append_field(&message, REQUEST_NODE, node.at, node.size);
    }
    append_field(&message, REQUEST_TYPE, URL[type], strlen(URL[type]));
    if (names)
        append(&message, names->at, names->size);
    if (nonce)
        append_field(&message, REQUEST_NONCE, nonce, strlen(nonce));
    send_message(c, &message);
}

static void acknowledge(struct client *c, enum type type, const char *nonce, uint64_t bytes)
{
    ask(c, type, nonce, NULL, false);
    event(c, "ack", now());
    printf(" %s %s %llu\n", NAME[type], nonce, (unsigned long long)bytes);
}

/* The name under which a cluster takes its endpoints, empty if it does not: Cluster.name = 1, type = 2 (EDS = 3),
 * eds_cluster_config = 3 { service_name = 2 }. */
static struct bytes endpoints_of(struct bytes cluster)
{
    struct bytes value, name = {0}, service_name = {0};
    uint64_t integer, discovery = 0;
    for (int number; (number = take_field(&cluster, &value, &integer));) {
        if (number == 1)
            name = value;
        else if (number == 2)
            discovery = integer;
        else if (number == 3)
            service_name = field(value, 2);
    }
    return discovery != 3 ? (struct bytes){0} : service_name.size ? service_name : name;
}

static void note_name(struct client *c, struct set *set, struct bytes name)
{
    if (name.size && change(set, intern(name), true)) {
        append_field(&c->subscribe, REQUEST_SUBSCRIBE, name.at, name.size);
        c->subscribed_now++;
    }
}

/* Route names of a listener: filter_chains = 3 and default_filter_chain = 25 { filters = 3 { typed_config = 4
 * { type_url = 1, value = 2: HttpConnectionManager { rds = 3 { route_config_name = 2 } } } } }. */
static void note_routes(struct client *c, struct bytes listener)
{
    struct bytes chain, filter;
    uint64_t integer;
    for (int number; (number = take_field(&listener, &chain, &integer));) {
        if (number != 3 && number != 25)
            continue;
        while ((number = take_field(&chain, &filter, &integer))) {
            struct bytes config = number == 3 ? field(filter, 4) : (struct bytes){0};
            if (equals(field(config, 1), HTTP_CONNECTION_MANAGER))
                note_name(c, &c->routes, field(field(field(config, 2), 3), 2));
        }
    }
}

static void take_response_field(struct client *c)
{
    struct bytes value = {c->value.at, c->value.size};
    switch (c->field_number) {
    case RESPONSE_TYPE:
        for (c->type = 0; c->type < TYPES && !equals(value, URL[c->type]); c->type++)
            ;
        if (c->type == TYPES)
            die("a type that was not asked for: %.*s", (int)value.size, (const char *)value.at);
        break;
    case RESPONSE_NONCE:
        if (value.size >= sizeof c->nonce)
            die("a nonce of %zu bytes", value.size);
        memcpy(c->nonce, value.at, value.size);
        c->nonce[value.size] = 0;
        break;
    case RESPONSE_RESOURCE: /* Resource.resource = 2, an Any, whose value = 2 */
        if (c->type == TYPES)
            die("resources before their type: this server is not the one that is to be measured");
        c->carried++;
        if (c->type == CDS)
            note_name(c, &c->endpoints, endpoints_of(field(field(value, 2), 2)));
        else if (c->type == LDS)
            note_routes(c, field(field(value, 2), 2));
        break;
    case RESPONSE_REMOVED:
        c->carried++;
        if (c->type == CDS && change(&c->endpoints, intern(value), false))
            append_field(&c->unsubscribe, REQUEST_UNSUBSCRIBE, value.at, value.size);
        break;
    default:
        break;
    }
}

static void check_ready(struct client *c)
{
    bool ready = c->listeners_asked && c->secrets_asked;
    for (int type = 0; type < TYPES; type++)
        ready = ready && !c->missing[type];
    if (ready && !c->ready) {
        event(c, "ready", now());
        putchar('\n');
    }
    c->ready = ready;
}

static void take_response(struct client *c)
{
    enum type type = c->type;
    if (type == TYPES || !c->nonce[0])
        die("a response without type or nonce");
    bool named = type == EDS || type == RDS || type == SDS;
    c->missing[type] -= named ? c->carried : 1;
    if (c->missing[type] < 0)
        c->missing[type] = 0; /* an update, not an answer */
    if (type == CDS) {
        c->missing[EDS] += c->subscribed_now;
        strcpy(c->withheld, c->nonce);
        c->withheld_bytes = c->message_size;
        append(&c->subscribe, c->unsubscribe.at, c->unsubscribe.size);
        if (c->subscribe.size)
            ask(c, EDS, NULL, &c->subscribe, false);
    } else {
        acknowledge(c, type, c->nonce, c->message_size);
        if (type == LDS && c->subscribed_now) {
            c->missing[RDS] += c->subscribed_now;
            ask(c, RDS, NULL, &c->subscribe, false);
        }
    }
    if (c->open && c->withheld[0] && !c->missing[EDS]) {
        acknowledge(c, CDS, c->withheld, c->withheld_bytes);
        c->withheld[0] = 0;
        if (!c->listeners_asked) {
            c->listeners_asked = true;
            c->missing[LDS] = 1;
            ask(c, LDS, NULL, NULL, false);
        }
    }
    if (c->open && type == LDS && !c->secrets_asked) {
        c->secrets_asked = true;
        struct buffer names = {0};
        for (size_t i = 0; i < sizeof SECRETS / sizeof *SECRETS; i++, c->missing[SDS]++)
            append_field(&names, REQUEST_SUBSCRIBE, SECRETS[i], strlen(SECRETS[i]));
        ask(c, SDS, NULL, &names, false);
        release(&names);
    }
    if (c->open)
        check_ready(c);
}

/* ---- in: fields of a response, as they come -------------------------------------------------------------------------- */

static void begin_message(struct client *c)
{
    c->type = TYPES;
    c->nonce[0] = 0;
    c->carried = c->subscribed_now = 0;
    c->subscribe.size = c->unsubscribe.size = 0;
    c->varint = 0;
    c->varint_shift = c->field_number = 0;
    c->in_field = false;
}

/* Reads fields of the response; only what is looked at later is kept, the rest is skipped over. */
static void read_fields(struct client *c, const uint8_t *at, size_t size)
{
    while (size) {
        if (c->in_field) {
            size_t n = size < c->field_left ? size : c->field_left;
            if (c->kept)
                append(&c->value, at, n);
            at += n;
            size -= n;
            c->field_left -= n;
        } else {
            uint8_t byte = *at++;
            size--;
            c->varint |= (uint64_t)(byte & 0x7f) << c->varint_shift;
            c->varint_shift += 7;
            if (byte & 0x80)
                continue;
            uint64_t value = c->varint;
            c->varint = 0;
            c->varint_shift = 0;
            if (!c->field_number) {
                if ((value & 7) != 2)
                    die("a response with a field that is not length-delimited");
                c->field_number = (int)(value >> 3);
                continue;
            }
            c->in_field = true;
            c->field_left = value;
            c->kept = c->field_number != RESPONSE_RESOURCE || c->type == CDS || c->type == LDS;
            c->value.size = 0;
        }
        if (!c->field_left) {
            take_response_field(c);
            c->in_field = false;
            c->field_number = 0;
        }
    }
}

static void read_data(struct client *c, const uint8_t *at, size_t size)
{
    while (size && c->open) {
        if (c->message_got < sizeof c->message_head) {
            c->message_head[c->message_got++] = *at++;
            size--;
            if (c->message_got < sizeof c->message_head)
                continue;
            uint32_t length;
            memcpy(&length, c->message_head + 1, 4);
            c->message_left = c->message_size = ntohl(length);
            begin_message(c);
        }
        size_t n = size < c->message_left ? size : c->message_left;
        read_fields(c, at, n);
        at += n;
        size -= n;
        c->message_left -= n;
        if (!c->message_left) {
            c->message_got = 0;
            take_response(c);
        }
    }
}

/* ---- HTTP/2, inwards -------------------------------------------------------------------------------------------------- */

static uint32_t big_endian(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, 4);
    return ntohl(value);
}

static void take_settings(struct client *c)
{
    for (size_t i = 0; i + 6 <= c->control_got; i += 6)
        if (c->control[i] == 0 && c->control[i + 1] == 4) { /* SETTINGS_INITIAL_WINDOW_SIZE */
            int64_t size = big_endian(c->control + i + 2);
            c->stream_window += size - c->initial_window;
            c->initial_window = size;
        }
    append_frame(c, FRAME_SETTINGS, 1, 0, NULL, 0);
}

static void end_frame(struct client *c)
{
    int type = c->frame_head[3], flags = c->frame_head[4];
    uint32_t stream = big_endian(c->frame_head + 5);
    if (type == FRAME_SETTINGS && !(flags & 1))
        take_settings(c);
    else if (type == FRAME_PING && !(flags & 1))
        append_frame(c, FRAME_PING, 1, 0, c->control, 8);
    else if (type == FRAME_WINDOW_UPDATE)
        *(stream ? &c->stream_window : &c->connection_window) += big_endian(c->control);
    else if (type == FRAME_RST_STREAM)
        return hang_up(c, "RST_STREAM");
    else if (type == FRAME_HEADERS && flags & 1)
        return hang_up(c, "trailers");
    else
        return;
    frame_pending(c);
    flush(c);
}

static void read_frames(struct client *c, const uint8_t *at, size_t size)
{
    while (size && c->open) {
        if (c->frame_got < sizeof c->frame_head) {
            c->frame_head[c->frame_got++] = *at++;
            size--;
            if (c->frame_got < sizeof c->frame_head)
                continue;
            c->frame_left = big_endian(c->frame_head) >> 8;
            c->control_got = 0;
        }
        size_t n = size < c->frame_left ? size : c->frame_left;
        if (c->frame_head[3] == FRAME_DATA) {
            c->consumed += (uint32_t)n;
            read_data(c, at, n);
        } else {
            for (size_t i = 0; i < n && c->control_got < sizeof c->control; i++)
                c->control[c->control_got++] = at[i];
        }
        at += n;
        size -= n;
        c->frame_left -= (uint32_t)n;
        if (!c->frame_left && c->open) {
            c->frame_got = 0;
            end_frame(c);
        }
    }
    if (c->open && c->consumed > REFILL) {
        append_window_update(c, 0, c->consumed);
        append_window_update(c, 1, c->consumed);
        c->consumed = 0;
        flush(c);
    }
}

/* ---- connections ------------------------------------------------------------------------------------------------------- */

static void open_client(struct client *c)
{
    if (c->open)
        return;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        die("socket: %s", strerror(errno));
    if (connect(c->fd, (struct sockaddr *)&server, sizeof server) && errno != EINPROGRESS)
        die("connect: %s", strerror(errno));
    const int one = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    c->open = c->writing = true;
    c->connection_window = c->stream_window = c->initial_window = 65535;
    struct epoll_event e = {EPOLLIN | EPOLLOUT, {.ptr = c}};
    epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &e);

    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    append(&c->wire, preface, sizeof preface - 1);
    static const uint8_t settings[] = {0, 2, 0, 0, 0, 0, 0, 4, 0x7f, 0xff, 0xff, 0xff}; /* no push; the widest window */
    append_frame(c, FRAME_SETTINGS, 0, 0, settings, sizeof settings);
    append_window_update(c, 0, 0x7fffffff - 65535);
    struct buffer headers = {0};
    append_header(&headers, ":method", "POST");
    append_header(&headers, ":scheme", "http");
    append_header(&headers, ":path", "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources");
    append_header(&headers, ":authority", "xds");
    append_header(&headers, "te", "trailers");
    append_header(&headers, "content-type", "application/grpc");
    append_frame(c, FRAME_HEADERS, 4 /* END_HEADERS */, 1, headers.at, headers.size);
    release(&headers);
    c->missing[CDS] = 1;
    ask(c, CDS, NULL, NULL, true);
}

static void obey(char *line)
{
    int first, end;
    bool opening = sscanf(line, "open %d %d", &first, &end) == 2;
    if (!opening && sscanf(line, "close %d %d", &first, &end) != 2)
        die("not a command: %s", line);
    if (first < 0 || end > count)
        die("there are %d clients", count);
    for (int i = first; i < end; i++) {
        if (opening)
            open_client(&clients[i]);
        else
            hang_up(&clients[i], "closed");
    }
}

static void read_commands(void)
{
    static char line[256];
    static size_t size;
    ssize_t n = read(0, line + size, sizeof line - 1 - size);
    if (n <= 0) {
        fflush(stdout);
        exit(0);
    }
    size += (size_t)n;
    line[size] = 0;
    for (char *end; (end = strchr(line, '\n'));) {
        *end = 0;
        obey(line);
        size -= (size_t)(end + 1 - line);
        memmove(line, end + 1, size + 1);
    }
}

static void read_client(struct client *c)
{
    static uint8_t chunk[1 << 18];
    ssize_t n = recv(c->fd, chunk, sizeof chunk, 0);
    if (n > 0)
        read_frames(c, chunk, (size_t)n);
    else if (n == 0 || errno != EAGAIN)
        hang_up(c, n ? strerror(errno) : "the server closed the connection");
}

static void read_file(const char *path, struct buffer *b)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        die("%s: %s", path, strerror(errno));
    char chunk[4096];
    for (size_t n; (n = fread(chunk, 1, sizeof chunk, file));)
        append(b, chunk, n);
    fclose(file);
}

static void read_node_ids(const char *path)
{
    static struct buffer text;
    read_file(path, &text);
    append(&text, "", 1);
    for (char *line = strtok((char *)text.at, "\n"); line; line = strtok(NULL, "\n")) {
        node_ids = realloc(node_ids, (size_t)(count + 1) * sizeof *node_ids);
        node_ids[count++] = line;
    }
    clients = calloc((size_t)count, sizeof *clients);
    for (int i = 0; i < count; i++)
        clients[i].number = i;
}

int main(int argc, char **argv)
{
    if (argc != 5)
        die("usage: clients HOST PORT NODES PROPERTIES");
    server = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[2]))};
    if (inet_pton(AF_INET, argv[1], &server.sin_addr) != 1)
        die("no IPv4 address: %s", argv[1]);
    read_node_ids(argv[3]);
    read_file(argv[4], &properties);

    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);

    setvbuf(stdout, NULL, _IOFBF, 1 << 20);
    poller = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event commands = {EPOLLIN, {.ptr = NULL}};
    epoll_ctl(poller, EPOLL_CTL_ADD, 0, &commands);
    for (;;) {
        struct epoll_event events[256];
        /* Whoever reads the events would compete for the processor with what is measured: tell in the pauses. */
        int n = epoll_wait(poller, events, 256, unflushed ? 2 : -1);
        if (n == 0) {
            fflush(stdout);
            unflushed = false;
        }
        for (int i = 0; i < n; i++) {
            struct client *c = events[i].data.ptr;
            if (!c)
                read_commands();
            else {
                if (c->open && events[i].events & EPOLLOUT)
                    flush(c);
                if (c->open && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
                    read_client(c);
            }
        }
    }
}
