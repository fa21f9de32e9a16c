/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* One libnftables context: commands in as nft(8) text, answers out as JSON, both in memory. Nothing is
 * forked, and the kernel answers at once: a call takes as long as the transaction.
 *
 * Commands are text because a transaction is one buffer, and a ruleset in nft's own words is what people can
 * read and compare with `nft list table`. So whoever builds one has to see to it that values are plain
 * (names checked, addresses from inet_ntop()). libnftables ends the process when memory runs out. */

#include <jansson.h>

#include "basic/macro.h"

typedef struct NftClient NftClient;

/* It works in the network namespace of the moment. -ELIBBAD: libnftables, which the first call loads, is not there. */
int nft_client_new(NftClient **ret);
NftClient *nft_client_free(NftClient *c);
DEFINE_TRIVIAL_CLEANUP_FUNC(NftClient *, nft_client_free);

/* Runs all commands in the text as one transaction: everything or nothing. 0 or what the kernel said
 * (-ENOENT, -EEXIST, -EPERM, …); -EINVAL for what nft did not understand. */
int nft_client_run(NftClient *c, const char *commands);

/* Runs one list command; terse: without what is in sets. *ret is the array of objects without metainfo,
 * counters without their counts. */
int nft_client_list(NftClient *c, const char *command, bool terse, json_t **ret);

/* What was wrong with the last call, one line for a log; "" when nothing was. Valid until the next call. */
const char *nft_client_error(const NftClient *c);
