/* SPDX-License-Identifier: Apache-2.0 */

/* What hero-imaged is told by others without a worker in between: messages of the fetcher, references, the beginning of a tar,
 * what skopeo wrote; and its own records, after a disk had its way with them. */

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "imaged/archive-sniff.h"
#include "imaged/fetch-protocol.h"
#include "imaged/fetch-words.h"
#include "imaged/image-record.h"
#include "imaged/reference.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define DIGEST "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void must(bool b) {
        if (!b)
                abort();
}

static void message(const char *text, size_t size) {
        _cleanup_free_ char *copy = strndup(text, size);
        char buf[FETCH_MESSAGE_MAX + 1];
        FetchMessage m, back;

        must(copy);
        if (fetch_message_parse(copy, strlen(copy), &m) < 0)
                return;
        must(m.type != FETCH_ERROR || utf8_is_clean(m.text, NULL));
        must(fetch_message_format(&m, buf) > 0);
        must(fetch_message_parse(buf, strlen(buf), &back) == 0);
        must(back.type == m.type && back.bytes == m.bytes && back.blobs == m.blobs && back.error == m.error);
}

static void reference(const char *text) {
        char buf[REFERENCE_MAX + 1], file[REFERENCE_MAX + 1], back[REFERENCE_MAX + 1];
        char location[REFERENCE_LOCATION_MAX + DIGEST_LENGTH + 2];

        if (reference_normalize(text, buf) != 0)
                return;
        must(!strpbrk(buf, " \t\n\"'\\$`") && !strstr(buf, "..") && buf[0] != '-');
        reference_to_filename(buf, file);
        must(!strchr(file, '/') && file[0] != '.' && reference_from_filename(file, back) == 0 && streq(buf, back));
        must(reference_normalize(buf, back) == 0 && streq(buf, back));
        reference_location(buf, NULL, location);
        must(strchr(location, '/') && location[0] != '-');
        reference_location(buf, DIGEST, location);
        must(strlen(location) > DIGEST_LENGTH && streq(location + strlen(location) - DIGEST_LENGTH, DIGEST));
}

static void record(const char *text, size_t size) {
        _cleanup_(image_record_done) ImageRecord r = {}, back = {};
        _cleanup_free_ char *again = NULL;

        if (image_record_parse(text, size, DIGEST, &r) < 0)
                return;
        must(digest_is_valid(r.content));
        again = image_record_format(&r);
        must(again && image_record_parse(again, strlen(again), DIGEST, &back) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *text = new(char, size + 1);
        char words[FETCH_SENTENCE_MAX];

        must(text);
        memcpy(text, data, size);
        text[size] = 0;
        message(text, size);
        reference(text);
        record(text, size);
        (void) archive_sniff(data, size);
        (void) fetch_words(text, "r:1/x:y", size % 2, size % 3, words);
        must(utf8_is_clean(words, NULL) && words[0]);
        return 0;
}
