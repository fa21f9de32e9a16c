/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Tells when somebody else changes one table of nftables: the kernel announces every transaction, and with
 * it who made it. Raw netlink, because libnftables has nothing for it. */

#include "basic/macro.h"

typedef struct NftWatch NftWatch;

/* Watches the table of that name in the family inet, in the network namespace of the moment. table has to
 * outlive it. */
int nft_watch_new(const char *table, NftWatch **ret);
NftWatch *nft_watch_free(NftWatch *w);
DEFINE_TRIVIAL_CLEANUP_FUNC(NftWatch *, nft_watch_free);

/* Readable when nft_watch_dispatch() has something to do. Stays the watch's. */
int nft_watch_fd(const NftWatch *w);

/* Reads what there is (bounded: the rest stays readable). 1: the table was changed by another process, or so
 * much happened that the kernel could not tell all; 0: it was not; -errno. Transactions of this process are
 * not told. */
int nft_watch_dispatch(NftWatch *w);
