/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Where our helper programs are: PKGLIBEXECDIR, or $HERO_LIBEXEC_DIR for a build that is not installed (tests,
 * tools). The daemons' environment is root's; the programs themselves never look at it. */

/* "/usr/lib/hero-compute/NAME", allocated; NULL on ENOMEM. */
char *program_path(const char *name);

/* "/usr/bin/NAME", or in $HERO_BIN_DIR; likewise. For programs that people call, too. */
char *command_path(const char *name);
