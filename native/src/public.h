/* Marks bytes that were computed from secrets and are none: ciphertext, and whether a tag was right. Built with
 * CHECK_CONSTANT_TIME and run under valgrind, with keys and plaintext marked as undefined, every branch and address that
 * depends on anything else is an error (the method of A. Langley, "ctgrind", 2010). Otherwise it is nothing. */
#ifndef DDTP_PUBLIC_H
#define DDTP_PUBLIC_H

#ifdef CHECK_CONSTANT_TIME
#include <valgrind/memcheck.h>
#define MARK_PUBLIC(bytes, size) ((void)VALGRIND_MAKE_MEM_DEFINED((bytes), (size)))
#else
#define MARK_PUBLIC(bytes, size) ((void)(bytes), (void)(size))
#endif

#endif
