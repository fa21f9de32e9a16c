/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* From a bearer token to a caller: the keys, and the tokens that were found right, so that a signature is checked once and not with
 * every request. */

#include "rpcd/caller.h"
#include "rpcd/jwks.h"
#include "rpcd/rpc-config.h"

#define TOKENS_MAX 1024u

typedef struct Tokens Tokens;

/* retry(): keys were fetched, or not: who was told to wait asks again. */
int tokens_new(sd_event *event, const RpcConfig *config, const JwksOptions *options, void (*retry)(void *userdata), void *userdata,
               Tokens **ret);
Tokens *tokens_free(Tokens *t);
DEFINE_TRIVIAL_CLEANUP_FUNC(Tokens *, tokens_free);

/* uid: the peer's, for the caller. 1: *ret is it, referenced; for a token that is known, without an allocation. 0: keys are being fetched.
 * -EACCES: no, *ret_why is a constant sentence. -ENOMEM. */
int tokens_identify(Tokens *t, const char *text, size_t size, uid_t uid, Caller **ret, const char **ret_why);
