/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* MESSAGE_ID= of the journal entries people search for. Each has an entry in catalog/hero-compute.catalog; a test
 * compares the two. Made with `systemd-id128 new`. */

#define CATALOG_VM_TRANSITION "66e6f186b8374d3b96c6da884422bce0"
#define CATALOG_VM_FAILED "80bf2b5f7e264d6ea46a69ead3c31644"
#define CATALOG_VM_QUARANTINED "e808d755a77b4bbcaf0142bba264067d"
#define CATALOG_VM_ADOPTED "36c592a674f1487fbbec45a354257da6"
#define CATALOG_VM_UNDONE "863d667561f74f97862ff34986662df2"
#define CATALOG_CONFIG_PROBLEM "26ca5d5f0194414ca6bf62ef53da25d9"
#define CATALOG_NO_KVM "8e8e4f3a631e497d84f1bc383bcd2c4f"
#define CATALOG_AUDIT "0df65b065d9547ac8a35487c92dd0251"
