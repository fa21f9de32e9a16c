/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Between hero-imaged, which has no network, and hero-image-fetch, which has nothing else.
 *
 * One connection to FETCH_SOCKET (SOCK_SEQPACKET) for one pull; PID 1 starts a hero-image-fetch for each. One message per
 * packet: text without terminator, at most FETCH_MESSAGE_MAX bytes, fds beside it (SCM_RIGHTS). hero-imaged asks one thing
 * at a time:
 *
 *   inspect LOCATION          what the registry has under this name
 *   copy MAX-BYTES LOCATION   the blobs of the image; LOCATION has the digest of its manifest
 *
 * and is answered with
 *
 *   progress BYTES BLOBS      of a copy, now and then: bytes on disk, blobs that are complete
 *   document                  (and 1 fd) the end of an inspect: the bytes of the manifest or index
 *   files HEX …               (and as many fds) the end of a copy: a blob each; HEX is what its name claims
 *   error WORD SENTENCE       the end of either, and of the connection; WORD is one of fetch_error_to_string()
 *
 * LOCATION is what skopeo takes behind "docker://" (reference_location()). fds are of regular files, open for reading.
 * Closing the connection ends whatever is under way, and nothing of it stays.
 *
 * hero-image-fetch reads what strangers send: hero-imaged believes nothing of what it says. Documents are checked against the
 * digests they were asked for by, but the first against nothing, for a tag is what the registry says it is; layers against
 * the checksums of their contents in the configuration (diff_id). */

#include "basic/macro.h"

#define FETCH_SOCKET RUNDIR "/image-fetch"
#define FETCH_MESSAGE_MAX 16384u
#define FETCH_FILES_MAX 130u /* layers, configuration, manifest; below SCM_MAX_FD (253) */
#define FETCH_SENTENCE_MAX 1024u

typedef enum FetchError {
        FETCH_NO_SUCH_IMAGE, /* the registry says it has none */
        FETCH_FAILED,        /* anything else */
        FETCH_TOO_LARGE,     /* more than MAX-BYTES */
        FETCH_NO_SPACE,
        _FETCH_ERROR_MAX,
        _FETCH_ERROR_INVALID = -EINVAL,
} FetchError;

const char *fetch_error_to_string(FetchError e);
FetchError fetch_error_from_string(const char *s);

typedef enum FetchType {
        FETCH_INSPECT,
        FETCH_COPY,
        FETCH_PROGRESS,
        FETCH_DOCUMENT,
        FETCH_FILES,
        FETCH_ERROR,
} FetchType;

typedef struct FetchMessage {
        FetchType type;
        uint64_t bytes;   /* copy, progress */
        unsigned blobs;   /* progress */
        FetchError error; /* error */
        char *text;       /* LOCATION; HEX …; SENTENCE, made clean. Points into the parsed buffer. */
} FetchMessage;

/* Takes buf (n bytes and a NUL behind them) apart, in place. -EBADMSG: not such a message. */
int fetch_message_parse(char *buf, size_t n, FetchMessage *ret);

/* Writes it into buf with a NUL; a sentence that does not fit is cut. Returns the length, or -E2BIG. */
int fetch_message_format(const FetchMessage *m, char buf[static FETCH_MESSAGE_MAX + 1]);

/* One packet with fds; never blocks. 0 or -errno. */
int fetch_send(int fd, const FetchMessage *m, const int *fds, size_t n_fds);

/* One packet into buf and fds (FETCH_FILES_MAX; the caller closes them, also on -EBADMSG). 1: there was one; 0: the other end
 * has closed; -EAGAIN, -EBADMSG, other -errno. */
int fetch_receive(int fd, char buf[static FETCH_MESSAGE_MAX + 1], FetchMessage *ret, int *fds, size_t *ret_n_fds);
