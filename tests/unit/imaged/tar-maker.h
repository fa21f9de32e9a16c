/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Archives made block by block, as no archiver would make them. For tests. */

#include "basic/macro.h"

/* An archive in the making. */
typedef struct Tar {
        int fd;
} Tar;

typedef struct Header {
        char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, link[100], magic[6], version[2],
                uname[32], gname[32], major[8], minor[8], prefix[155], padding[12];
} Header;

Tar tar_new(void);
void put(Tar *t, const void *p, size_t n);
void put_padded(Tar *t, const void *p, size_t n);
Header header(const char *name, char type, uint64_t size);
void seal_header(Header *h);
void put_header(Tar *t, Header *h);
void put_entry(Tar *t, const char *name, char type, const char *link, const void *data, size_t size);
void put_file(Tar *t, const char *name, const char *text);
size_t pax_record(char *buf, const char *key, const void *value, size_t size);
void put_pax(Tar *t, const char *key, const void *value, size_t size);
void put_end(Tar *t);
Tar compressed(Tar *t, int filter);
