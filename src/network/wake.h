/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#define WAKE_INTERFACE "hero-wake"
