/* What the parts of the Python binding share. The binding knows Python and the primitives, and nothing of DDTP. */
#ifndef DDTP_BINDING_H
#define DDTP_BINDING_H

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030b0000
#include <Python.h>
#include <stdbool.h>
#include <stdint.h>

/* From this many bytes on a call lets other threads run: handing the GIL over and back costs about 0.1 us when nobody
 * waits for it, which is a tenth of the time that SM4-GCM needs for as much. */
#define RELEASE_BYTES 4096

/* Exceptions that the caller of `use_errors` wants for a tag that does not match, and for a malformed key or point. */
extern PyObject *error_of_tag, *error_of_input;

/* Views of the arguments of one call, released together. */
typedef struct {
    Py_buffer views[7];
    bool is_output[7];
    int count;
} arguments;

/* Adds a view of `object`, which must be contiguous, and writable if `flags` say so; NULL with an exception if not. */
Py_buffer *take(arguments *taken, PyObject *object, int flags);
void give_back(arguments *taken);

/* Checks the length of a view. */
bool check_size(const Py_buffer *view, Py_ssize_t size, const char *what);

/* Checks that two views are the same place or do not touch each other. */
bool check_apart(const Py_buffer *in, const Py_buffer *out, bool same_allowed);

/* Checks that no view of a call that is written touches any other one. */
bool check_outputs_apart(const arguments *taken);

/* Checks the number of arguments of a call. */
bool check_count(Py_ssize_t found, Py_ssize_t expected, const char *function);

/* Add the types and functions of each primitive to the module; false with an exception. */
bool add_sm2(PyObject *module);
bool add_sm3(PyObject *module);
bool add_sm4(PyObject *module);

#endif
