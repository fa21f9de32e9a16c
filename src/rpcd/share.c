/* SPDX-License-Identifier: Apache-2.0 */

#include "rpcd/share.h"

#include "basic/alloc-util.h"

struct Shares {
        Share *by_uid;
};

int shares_new(Shares **ret) {
        *ret = new0(Shares, 1);
        return *ret ? 0 : -ENOMEM;
}

Shares *shares_free(Shares *s) {
        assert(!s || !s->by_uid);
        return mfree(s);
}

Share *share_get(Shares *s, uid_t uid) {
        Share *share;

        HASH_FIND(hh, s->by_uid, &uid, sizeof(uid), share);
        if (!share) {
                share = new0(Share, 1);
                if (!share)
                        return NULL;
                share->shares = s;
                share->uid = uid;
                HASH_ADD(hh, s->by_uid, uid, sizeof(uid), share);
        }
        share->n++;
        return share;
}

Share *share_put(Share *s) {
        if (!s || --s->n > 0)
                return NULL;
        assert(s->memory == 0 && s->answers == 0);
        HASH_DELETE(hh, s->shares->by_uid, s);
        return mfree(s);
}
