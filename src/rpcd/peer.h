/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the kernel knows of the other end of a connection. Asked once, when it is accepted; nothing of it is what the other end
 * says of itself. */

#include "basic/macro.h"

typedef struct PeerCredentials {
        uid_t uid;        /* UID_INVALID: not known, and then nothing else is */
        gid_t gid;        /* GID_INVALID over TCP: only the uid is to be had there */
        gid_t *groups;    /* supplementary ones */
        size_t n_groups;
        bool has_groups;  /* false over TCP: the user database says which they are */
} PeerCredentials;

void peer_credentials_done(PeerCredentials *p);

/* 0, *ret is filled also when there is nobody to be found; -ENOMEM. */
int peer_credentials_get(int fd, PeerCredentials *ret);

bool peer_credentials_have_group(const PeerCredentials *p, gid_t gid) _pure_;
