/* SPDX-License-Identifier: Apache-2.0 */

/* A uid of its own for every VMM. One is given back only when its scope is empty, and the search goes round, so
 * that a uid rests as long as possible before somebody else gets it. No file is ever owned by one. */

#include "basic/alloc-util.h"
#include "compute/manager.h"

static bool is_used(Manager *m, unsigned i) {
        return m->uids_used[i / 8] & (1u << (i % 8));
}

static int uid_pool_init(Manager *m) {
        if (!m->uids_used)
                m->uids_used = new0(unsigned char, m->config.uid_count / 8 + 1);
        return m->uids_used ? 0 : -ENOMEM;
}

int uid_pool_take(Manager *m, uid_t *ret) {
        if (uid_pool_init(m) < 0)
                return -ENOMEM;
        for (unsigned k = 0; k < m->config.uid_count; k++) {
                unsigned i = (m->uids_next + k) % m->config.uid_count;

                if (is_used(m, i))
                        continue;
                m->uids_used[i / 8] |= (unsigned char) (1u << (i % 8));
                m->uids_next = i + 1;
                *ret = m->config.uid_base + i;
                return 0;
        }
        return -EDQUOT;
}

void uid_pool_reserve(Manager *m, uid_t uid) {
        unsigned i = uid - m->config.uid_base;

        if (uid < m->config.uid_base || i >= m->config.uid_count || uid_pool_init(m) < 0)
                return; /* of another range, configured earlier: nobody gets it now anyway */
        m->uids_used[i / 8] |= (unsigned char) (1u << (i % 8));
        if (i >= m->uids_next)
                m->uids_next = i + 1;
}

void uid_pool_give_back(Manager *m, uid_t uid) {
        unsigned i = uid - m->config.uid_base;

        if (uid >= m->config.uid_base && i < m->config.uid_count && m->uids_used)
                m->uids_used[i / 8] &= (unsigned char) ~(1u << (i % 8));
}
