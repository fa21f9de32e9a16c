/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* MESSAGE_ID= of the journal entries people search for. Each has an entry in catalog/hero-compute.catalog; a test
 * compares the two. Made with `systemd-id128 new`. */

#define CATALOG_VM_TRANSITION "1f0f4a5c8f6b4c0d9f2f7f2f0a7f5e01"
#define CATALOG_VM_FAILED "6a8a1d0f6d9e4a1f8b55f3a1a8c3b802"
#define CATALOG_VM_QUARANTINED "c9b1f8e26f1a4a55a0a2a54f1be2dd03"
#define CATALOG_VM_ADOPTED "2e0f5f3cb3d24a3f8f6f2f0f9c64b904"
#define CATALOG_VM_UNDONE "f4f5cc1f4f6846c59c1a4b64c1b93b05"
#define CATALOG_CONFIG_PROBLEM "8d9f5e1f3d5e4d0a93a0d3c5a3e3f606"
#define CATALOG_NO_KVM "0a7f8f0b7a4c4f2a9a6b6a1a55e0ce07"
