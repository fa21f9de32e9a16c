/* SPDX-License-Identifier: Apache-2.0 */

/* Users and their addresses, see the header. An entry is the user's six bytes, so a change of the subnet changes
 * nothing here. */

#include "network/address-book.h"

#include <uthash.h>

#include "basic/alloc-util.h"
#include "basic/sip-hash.h"

#define SUFFIX_SIZE 6u

typedef struct Entry {
        char *user;
        uint32_t counter;
        uint8_t suffix[SUFFIX_SIZE];
        UT_hash_handle by_user, by_suffix;
} Entry;

struct AddressBook {
        SipKey key;
        Entry *by_user, *by_suffix;
};

int address_book_new(const AddressKey *key, AddressBook **ret) {
        AddressBook *b = new0(AddressBook, 1);

        if (!b)
                return -ENOMEM;
        memcpy(&b->key, key->bytes, sizeof(b->key));
        *ret = b;
        return 0;
}

static Entry *entry_free(Entry *e) {
        free(e->user);
        free(e);
        return NULL;
}
DEFINE_TRIVIAL_CLEANUP_FUNC(Entry *, entry_free);

static void entry_forget(AddressBook *b, Entry *e) {
        HASH_DELETE(by_user, b->by_user, e);
        HASH_DELETE(by_suffix, b->by_suffix, e);
        entry_free(e);
}

AddressBook *address_book_free(AddressBook *b) {
        if (!b)
                return NULL;
        while (b->by_user)
                entry_forget(b, b->by_user);
        free(b);
        return NULL;
}

/* All zeroes and all ones are the subnet's own, as for ThreeFold's VMs. */
static bool suffix_is_reserved(const uint8_t suffix[static SUFFIX_SIZE]) {
        static const uint8_t zeroes[SUFFIX_SIZE], ones[SUFFIX_SIZE] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

        return memcmp(suffix, zeroes, SUFFIX_SIZE) == 0 || memcmp(suffix, ones, SUFFIX_SIZE) == 0;
}

static void suffix_of(const SipKey *key, const char *user, uint32_t counter, uint8_t ret[static SUFFIX_SIZE]) {
        SipKey k = { key->k0, key->k1 ^ counter };
        uint64_t h = sip_hash(&k, user, strlen(user));

        for (unsigned i = 0; i < SUFFIX_SIZE; i++)
                ret[i] = (uint8_t) (h >> (8 * i));
}

static Entry *find_user(AddressBook *b, const char *user) {
        Entry *e;

        HASH_FIND(by_user, b->by_user, user, strlen(user), e);
        return e;
}

static Entry *find_suffix(AddressBook *b, const uint8_t suffix[static SUFFIX_SIZE]) {
        Entry *e;

        HASH_FIND(by_suffix, b->by_suffix, suffix, SUFFIX_SIZE, e);
        return e;
}

int address_book_take(AddressBook *b, const char *user, uint32_t *counter) {
        _cleanup_(entry_freep) Entry *e = NULL;
        Entry *there = find_user(b, user);

        if (there) {
                *counter = there->counter;
                return 0;
        }
        e = new0(Entry, 1);
        if (!e)
                return -ENOMEM;
        e->user = strdup(user);
        if (!e->user)
                return -ENOMEM;
        for (e->counter = *counter;; e->counter++) {
                suffix_of(&b->key, user, e->counter, e->suffix);
                if (!suffix_is_reserved(e->suffix) && !find_suffix(b, e->suffix))
                        break;
        }
        HASH_ADD_KEYPTR(by_user, b->by_user, e->user, strlen(e->user), e);
        HASH_ADD(by_suffix, b->by_suffix, suffix, SUFFIX_SIZE, e);
        *counter = e->counter;
        TAKE_PTR(e);
        return 0;
}

void address_book_give_back(AddressBook *b, const char *user) {
        Entry *e = find_user(b, user);

        if (e)
                entry_forget(b, e);
}

static bool subnet_fits(const Subnet *s) {
        return s->address.family == AF_INET6 && s->prefix == 64;
}

int address_book_address(AddressBook *b, const char *user, const Subnet *subnet, Address *ret) {
        Entry *e = find_user(b, user);

        if (!subnet_fits(subnet))
                return -EINVAL;
        if (!e)
                return -ENOENT;
        *ret = subnet->address;
        ret->bytes[8] = 0xff;
        ret->bytes[9] = 0x0f;
        memcpy(ret->bytes + 10, e->suffix, SUFFIX_SIZE);
        return 0;
}

const char *address_book_user(AddressBook *b, const Subnet *subnet, const Address *a) {
        Entry *e;

        if (!subnet_fits(subnet) || !subnet_contains(subnet, a) || a->bytes[8] != 0xff || a->bytes[9] != 0x0f)
                return NULL;
        e = find_suffix(b, a->bytes + 10);
        return e ? e->user : NULL;
}
