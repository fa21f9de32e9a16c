/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The agent channel: what the host and hero-init (PID 1 of the guest) say to each other.
 *
 * One byte stream per VM (a virtio-serial port named "org.hero.agent" under QEMU) carries frames. Both ends
 * link this library; the host treats every byte as hostile. libc only.
 *
 *     frame   = header payload
 *     header  = u32 length of the payload · u16 type · u16 reserved (0) · u32 stream      (little endian)
 *     payload = raw bytes (data frames), fixed integers, or a list of fields, see below
 *     field   = u16 tag · u16 reserved (0) · u32 length · bytes
 *
 * A frame is at most 12 + 32768 bytes: the kernel takes that much into a Unix stream socket in one piece or
 * not at all, so a host process killed between two frames never leaves half of one behind.
 *
 * Order of a boot: guest HELLO → host BOOT → guest READY (or BOOT_FAILED). A frame of unknown type is skipped,
 * an unknown field too: that is how either end may be newer. HELLO carries the version; a different major
 * version is refused by name.
 *
 * Streams: 0 is the VM itself. The host numbers exec sessions from 1 up and never uses a number twice in the
 * life of a guest. Flow control is by absolute offsets (as in QUIC), so that it can be stated again after the
 * host side was restarted: WINDOW says "you may send up to byte OFFSET of this kind of data on this stream";
 * every DATA frame counts payload + GP_DATA_COST bytes, for small frames cost the receiver memory too. Both
 * ends start with GP_WINDOW bytes per direction without being told. Data beyond the window is a protocol
 * error that ends the session (guest → host) or is dropped (host → guest, cannot happen with our host). The
 * end of file (an empty data frame) is free: it needs no window and is not counted. The sums are in flow.h.
 *
 * RESUME/RESUMED: a host side that was restarted asks for the state of every stream; the guest answers with
 * one GP_FIELD_STREAM per live session and PHASE, and then both go on where they were. The channel keeps its
 * order, so every frame the guest sent before is read before RESUMED, and "stdin taken" in it counts everything
 * the former host process sent. The new one states its windows again with WINDOW_UPDATE.
 *
 * A session's EXIT: when its leader has ended, what its pipes hold is still sent, then they are closed after
 * 200 ms of silence (5 s at most) even when a process left in the background keeps them open. */

#include <sys/socket.h>

#include "basic/macro.h"

#define GP_VERSION_MAJOR 1
#define GP_VERSION_MINOR 2        /* 2: the network in BOOT, SEED */
#define GP_PORT_NAME "org.hero.agent"

#define GP_HEADER_SIZE 12u
#define GP_PAYLOAD_MAX 32768u
#define GP_FRAME_MAX (GP_HEADER_SIZE + GP_PAYLOAD_MAX)
#define GP_DATA_MAX 16384u      /* payload of one data frame */
#define GP_DATA_COST 1024u      /* what a data frame costs beyond its payload */
#define GP_WINDOW (256u * 1024u)
#define GP_SESSIONS_MAX 64u     /* exec sessions at a time in one guest */
#define GP_ADDRESSES_MAX 16u    /* of each in one BOOT; more are refused */
#define GP_ROUTES_MAX 32u
#define GP_DNS_SERVERS_MAX 8u
#define GP_HOSTS_MAX 64u
#define GP_MTU_MIN 1280u        /* what IPv6 asks for */
#define GP_MTU_MAX 65535u
#define GP_SEED_SIZE 32u

typedef enum GpType {
        /* guest → host */
        GP_HELLO = 1,        /* fields: VERSION */
        GP_READY = 2,        /* fields: BOOT_USEC (CLOCK_BOOTTIME of the guest) */
        GP_BOOT_FAILED = 3,  /* fields: MESSAGE, ERRNO, STATUS (126 or 127: its command could not be
                              * executed); the guest powers off afterwards */
        GP_STARTED = 4,      /* stream; fields: PID (in the guest). The command was executed. */
        GP_EXEC_FAILED = 5,  /* stream; fields: ERRNO, MESSAGE. Ends the stream. */
        GP_STDOUT = 6,       /* stream; raw bytes; empty = end of file. A tty session sends only STDOUT. */
        GP_STDERR = 7,       /* stream; raw bytes; empty = end of file */
        GP_EXIT = 8,         /* stream; fields: STATUS or SIGNAL. Always after both ends of file; ends the stream. */
        GP_COMMAND_EXIT = 9, /* fields: STATUS or SIGNAL, MESSAGE: the VM's own command ended; power-off follows */
        GP_RESUMED = 10,     /* fields: NONCE, PHASE, STREAM… */
        GP_TIME_SET = 11,    /* fields: none */
        GP_STOPPING = 12,    /* answer to SHUTDOWN; the guest is going down */

        /* host → guest */
        GP_BOOT = 64,        /* fields: HOSTNAME, ROOT_DEVICE, OVERLAY_DEVICE, ARG…, ENV…, CWD, USER, SIGNAL (how the
                              * command is asked to end at SHUTDOWN; absent: SIGTERM), INIT, REALTIME, CONSOLE_SHELL.
                              * ENV and CWD hold for EXEC, too; USER for the command only.
                              * The network, all of it optional: ADDRESS…, ROUTE…, MTU, DNS_SERVER…, HOST…; without
                              * ADDRESS and ROUTE there is the loopback alone. A network that cannot be set up as told
                              * is BOOT_FAILED. */
        GP_EXEC = 65,        /* stream; fields: ARG…, ENV…, CWD, USER, TTY (with ROWS, COLUMNS) */
        GP_STDIN = 66,       /* stream; raw bytes; empty = end of file */
        GP_RESIZE = 67,      /* stream; fields: ROWS, COLUMNS */
        GP_SIGNAL = 68,      /* stream; fields: SIGNAL. Goes to the session's process group. */
        GP_CLOSE = 69,       /* stream: the client is gone. Guest: SIGHUP, after 5 s SIGKILL, and EXIT as ever. */
        GP_SHUTDOWN = 70,    /* fields: MODE */
        GP_SET_TIME = 71,    /* fields: REALTIME, SEED; after the guest was paused or saved */
        GP_RESUME = 72,      /* fields: NONCE */

        /* both ways */
        GP_WINDOW_UPDATE = 128, /* stream; fields: KIND (GP_STDIN, GP_STDOUT or GP_STDERR), OFFSET */
} GpType;

typedef enum GpField {
        GP_FIELD_VERSION = 1,        /* u32: major << 16 | minor */
        GP_FIELD_BOOT_USEC = 2,      /* u64 */
        GP_FIELD_MESSAGE = 3,        /* string */
        GP_FIELD_ERRNO = 4,          /* u32, Linux x86 numbering */
        GP_FIELD_PID = 5,            /* u32 */
        GP_FIELD_STATUS = 6,         /* u32: exit status 0…255 */
        GP_FIELD_SIGNAL = 7,         /* u32: signal number */
        GP_FIELD_NONCE = 8,          /* u64 */
        GP_FIELD_STREAM = 9,         /* 48 bytes: u32 stream · u32 flags (GP_STREAM_*) · u64 stdin taken · u64 stdin
                                      * window · u64 stdout sent · u64 stderr sent · u64 reserved (0) */
        GP_FIELD_HOSTNAME = 16,      /* string */
        GP_FIELD_ROOT_DEVICE = 17,   /* string: "/dev/vda" or "serial:ID" of a virtio disk; squashfs or erofs, read-only */
        GP_FIELD_OVERLAY_DEVICE = 18,/* string, likewise; ext4; absent: tmpfs */
        GP_FIELD_ARG = 19,           /* string, repeated, in order */
        GP_FIELD_ENV = 20,           /* string NAME=VALUE, repeated */
        GP_FIELD_CWD = 21,           /* string, absolute */
        GP_FIELD_USER = 22,          /* string: name or uid, optionally ":" group; looked up in the guest's root */
        GP_FIELD_REALTIME = 23,      /* u64: µs since the epoch */
        GP_FIELD_CONSOLE_SHELL = 24, /* u32: 1 = offer a shell on the console ("press Enter") */
        GP_FIELD_TTY = 25,           /* u32: 1 = allocate a terminal */
        GP_FIELD_ROWS = 26,          /* u32 */
        GP_FIELD_COLUMNS = 27,       /* u32 */
        GP_FIELD_MODE = 28,          /* u32: GpShutdown */
        GP_FIELD_KIND = 29,          /* u32 */
        GP_FIELD_OFFSET = 30,        /* u64 */
        GP_FIELD_PHASE = 31,         /* u32: GpPhase */
        GP_FIELD_INIT = 32,          /* u32: 1 = ARG is an init: it becomes PID 1, and the agent a process beside it */
        GP_FIELD_ADDRESS = 33,       /* 8 or 20 bytes: a prefix, see GpPrefix; of the guest's interface. It makes no route
                                      * to its network and IPv6 does not ask whether somebody else has it */
        GP_FIELD_ROUTE = 34,         /* 12 or 36 bytes: a prefix and the address of its gateway, which is taken for a
                                      * neighbour whatever the addresses say (onlink); all zero: no gateway, the
                                      * destinations themselves are neighbours */
        GP_FIELD_MTU = 35,           /* u32: GP_MTU_MIN…GP_MTU_MAX */
        GP_FIELD_DNS_SERVER = 36,    /* 4 or 16 bytes, repeated, in order of preference; replaces /etc/resolv.conf */
        GP_FIELD_HOST = 37,          /* string, repeated: a further line of /etc/hosts, "ADDRESS NAME…"; printable ASCII */
        GP_FIELD_SEED = 38,          /* GP_SEED_SIZE random bytes for the guest's kernel: a saved guest that is restored must not
                                      * go on with the random numbers it had, nor twice with the same */
} GpField;

typedef enum GpShutdown {
        GP_POWEROFF = 0,
        GP_REBOOT = 1,
} GpShutdown;

typedef enum GpPhase {
        GP_PHASE_WAITING = 0,        /* for BOOT */
        GP_PHASE_BOOTING = 1,
        GP_PHASE_READY = 2,
        GP_PHASE_STOPPING = 3,
} GpPhase;

#define GP_STREAM_STDIN_CLOSED 1u
#define GP_STREAM_STDOUT_CLOSED 2u
#define GP_STREAM_STDERR_CLOSED 4u
#define GP_STREAM_TTY 8u

typedef struct GpHeader {
        uint32_t length;
        uint16_t type;
        uint32_t stream;
} GpHeader;

/* Parses a header. 0, or -EBADMSG: length over GP_PAYLOAD_MAX or reserved bits set (the stream is unusable). */
int gp_header_parse(const uint8_t p[static GP_HEADER_SIZE], GpHeader *ret);
void gp_header_write(uint8_t p[static GP_HEADER_SIZE], const GpHeader *h);

/* Looks whether buf[0..n) begins with a whole frame. 1: yes, *ret_payload points into buf and *ret_size is the
 * size of header and payload; 0: more bytes are needed; -EBADMSG. */
int gp_frame_next(const uint8_t *buf, size_t n, GpHeader *ret, const uint8_t **ret_payload, size_t *ret_size);

/* Builds one frame in a fixed buffer. Errors stick: after the first (-E2BIG, -EINVAL) the further calls do
 * nothing and gp_writer_finish() returns it. */
typedef struct GpWriter {
        uint8_t buf[GP_FRAME_MAX];
        size_t n;
        int error;
} GpWriter;

void gp_writer_init(GpWriter *w, GpType type, uint32_t stream);
void gp_writer_raw(GpWriter *w, const void *p, size_t n);
void gp_writer_u32(GpWriter *w, GpField tag, uint32_t v);
void gp_writer_u64(GpWriter *w, GpField tag, uint64_t v);
void gp_writer_string(GpWriter *w, GpField tag, const char *s); /* NULL: nothing is written */
void gp_writer_strv(GpWriter *w, GpField tag, char *const *l);
void gp_writer_bytes(GpWriter *w, GpField tag, const void *p, size_t n);
int gp_writer_finish(GpWriter *w, size_t *ret_size); /* 0 and the size of the frame in w->buf, or -errno */

/* Walks the fields of a payload. gp_reader_next(): 1 field, 0 end, -EBADMSG. The getters check the length
 * (-EBADMSG); strings must be free of NUL bytes and are returned as copies. */
typedef struct GpReader {
        const uint8_t *p;
        size_t n;
        uint16_t tag;
        const uint8_t *value;
        uint32_t size;
} GpReader;

void gp_reader_init(GpReader *r, const uint8_t *payload, size_t n);
int gp_reader_next(GpReader *r);
int gp_reader_u32(const GpReader *r, uint32_t *ret);
int gp_reader_u64(const GpReader *r, uint64_t *ret);
int gp_reader_string(const GpReader *r, char **ret);

typedef struct GpStreamState {
        uint32_t stream;
        uint32_t flags;
        uint64_t stdin_taken, stdin_window, stdout_sent, stderr_sent;
} GpStreamState;

void gp_writer_stream_state(GpWriter *w, const GpStreamState *s);
int gp_reader_stream_state(const GpReader *r, GpStreamState *ret);

/* Addresses on the wire are in network byte order; their size says which family it is, 4 or 16. A prefix is
 *
 *     u8 length of the prefix in bits · u8[3] reserved (0) · address */
typedef struct GpAddress {
        int family;        /* AF_INET, AF_INET6; AF_UNSPEC: none */
        uint8_t bytes[16]; /* as much as the family has, the rest 0 */
} GpAddress;

typedef struct GpPrefix {
        GpAddress address;
        uint8_t length; /* bits */
} GpPrefix;

typedef struct GpRoute {
        GpPrefix destination; /* no bits set beyond its length */
        GpAddress gateway;    /* same family; AF_UNSPEC: none */
} GpRoute;

static inline size_t gp_family_size(int family) {
        return family == AF_INET ? 4 : family == AF_INET6 ? 16 : 0;
}

/* A family that is none of the two, or not the same for both ends of a route, makes gp_writer_finish() return -EINVAL. */
void gp_writer_address(GpWriter *w, GpField tag, const GpAddress *a);
void gp_writer_prefix(GpWriter *w, GpField tag, const GpPrefix *p);
void gp_writer_route(GpWriter *w, GpField tag, const GpRoute *r);
/* -EBADMSG also for a prefix that is too long and for a route with bits beyond its prefix. */
int gp_reader_address(const GpReader *r, GpAddress *ret);
int gp_reader_prefix(const GpReader *r, GpPrefix *ret);
int gp_reader_route(const GpReader *r, GpRoute *ret);

const char *gp_type_to_string(GpType t); /* "hello", …; NULL for an unknown one */
