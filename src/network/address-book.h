/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Users and their IPv6 addresses.
 *
 * A user's address is <subnet>:ff0f: and six bytes that a keyed hash makes of the user id: the same whenever the VM
 * is suspended, restarted or made anew, and with the same six bytes when the host's subnet changes. The key is the
 * host's, so that nobody can look for a user id that gets somebody else's address. For a VM that is nobody's, any
 * other text that is no user id serves ("/" and the VM's id).
 *
 * The book knows no subnet: it is given with each question, and must be an IPv6 /64 (-EINVAL). */

#include "network/address.h"

typedef struct AddressBook AddressBook;

int address_book_new(const AddressKey *key, AddressBook **ret);
AddressBook *address_book_free(AddressBook *b);
DEFINE_TRIVIAL_CLEANUP_FUNC(AddressBook *, address_book_free);

/* Gives the user an address. *counter is 0 for a new user and afterwards belongs into the user's record: it is
 * raised until the address is nobody else's (with 48 bits it stays 0 practically always), and with the recorded
 * value everybody gets the same address again, in whatever order the records are read. A user who has an address
 * keeps it, *counter is set to what it was made with. 0, -ENOMEM; nothing is taken on failure. */
int address_book_take(AddressBook *b, const char *user, uint32_t *counter);
void address_book_give_back(AddressBook *b, const char *user); /* nothing for who has none */

int address_book_address(AddressBook *b, const char *user, const Subnet *subnet, Address *ret); /* -ENOENT */
/* The other way round: NULL when it is nobody's. The book's own copy, valid until it is given back. */
const char *address_book_user(AddressBook *b, const Subnet *subnet, const Address *a);
