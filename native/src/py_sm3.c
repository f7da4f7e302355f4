/* The Python face of SM3: running hashes, leaves and roots of Merkle trees, HMAC and HKDF. */
#include "binding.h"

#include <string.h>

#include "sm3.h"
#include "wipe.h"

typedef struct {
    PyObject_HEAD
    sm3_hash hash;
} state_object;

static PyObject *new_state(PyTypeObject *type)
{
    state_object *state = PyObject_New(state_object, type);
    if (state != NULL) {
        sm3_start(&state->hash);
    }
    return (PyObject *)state;
}

static PyObject *state_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    if (PyTuple_Size(args) != 0 || (keywords != NULL && PyDict_Size(keywords) != 0)) {
        PyErr_SetString(PyExc_TypeError, "Sm3State() takes no arguments");
        return NULL;
    }
    return new_state(type);
}

static void state_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    wipe(&((state_object *)self)->hash, sizeof(sm3_hash));
    PyObject_Free(self);
    Py_DECREF(type);
}

static PyObject *state_update(PyObject *self, PyObject *data)
{
    arguments taken = {.count = 0};
    const Py_buffer *view = take(&taken, data, PyBUF_SIMPLE);
    if (view == NULL) {
        return NULL;
    }
    /* With the GIL: a state that two threads update at once must stay a state. */
    sm3_update(&((state_object *)self)->hash, view->buf, (size_t)view->len);
    give_back(&taken);
    Py_RETURN_NONE;
}

static PyObject *state_digest(PyObject *self, PyObject *unused)
{
    (void)unused;
    uint8_t digest[SM3_DIGEST_SIZE];
    sm3_digest(&((state_object *)self)->hash, digest);
    return PyBytes_FromStringAndSize((const char *)digest, sizeof digest);
}

static PyObject *state_copy(PyObject *self, PyObject *unused)
{
    (void)unused;
    PyObject *copy = new_state(Py_TYPE(self));
    if (copy != NULL) {
        ((state_object *)copy)->hash = ((state_object *)self)->hash;
    }
    return copy;
}

static PyMethodDef state_methods[] = {
    {"update", state_update, METH_O, "update(data, /)\n--\n\nAbsorb data."},
    {"digest", state_digest, METH_NOARGS, "digest()\n--\n\nReturn the 32-byte hash of all that was absorbed."},
    {"copy", state_copy, METH_NOARGS, "copy()\n--\n\nReturn an independent state that has absorbed the same bytes."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot state_slots[] = {
    {Py_tp_new, state_new},
    {Py_tp_dealloc, state_dealloc},
    {Py_tp_methods, state_methods},
    {Py_tp_doc, "A running SM3 hash."},
    {0, NULL},
};

static PyType_Spec state_spec = {
    "ddtp.crypto._native.Sm3State", sizeof(state_object), 0, Py_TPFLAGS_DEFAULT, state_slots,
};

/* leaves(heads, data, stride, out): one digest for each head; see sm3_strided. */
static PyObject *leaves(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    if (!check_count(count, 4, "sm3_leaves")) {
        return NULL;
    }
    arguments taken = {.count = 0};
    PyObject *result = NULL;
    const Py_ssize_t stride = PyLong_AsSsize_t(args[2]);
    if (stride == -1 && PyErr_Occurred()) {
        return NULL;
    }
    const Py_buffer *heads = take(&taken, args[0], PyBUF_SIMPLE), *data = NULL, *out = NULL;
    if (heads == NULL || (data = take(&taken, args[1], PyBUF_SIMPLE)) == NULL ||
        (out = take(&taken, args[3], PyBUF_WRITABLE)) == NULL) {
        goto done;
    }
    const Py_ssize_t messages = heads->len / SM3_BLOCK_SIZE;
    if (heads->len % SM3_BLOCK_SIZE != 0 || messages == 0 || stride <= 0 || messages > PY_SSIZE_T_MAX / stride ||
        data->len > messages * stride || data->len < (messages - 1) * stride) {
        PyErr_Format(error_of_input, "expected heads of 64 bytes for pieces of %zd bytes, found %zd bytes of heads for %zd",
                     stride, heads->len, data->len);
        goto done;
    }
    if (!check_size(out, messages * SM3_DIGEST_SIZE, "digests") || !check_outputs_apart(&taken)) {
        goto done;
    }
    const size_t last = (size_t)(data->len - (messages - 1) * stride);
    if (data->len >= RELEASE_BYTES) {
        Py_BEGIN_ALLOW_THREADS
        sm3_strided((size_t)messages, heads->buf, data->buf, (size_t)stride, last, out->buf);
        Py_END_ALLOW_THREADS
    } else {
        sm3_strided((size_t)messages, heads->buf, data->buf, (size_t)stride, last, out->buf);
    }
    result = Py_NewRef(Py_None);
done:
    give_back(&taken);
    return result;
}

/* root(prefix, leaves): the root over digests that lie one after the other. */
static PyObject *root(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    if (!check_count(count, 2, "sm3_root")) {
        return NULL;
    }
    arguments taken = {.count = 0};
    PyObject *result = NULL;
    uint8_t(*nodes)[SM3_DIGEST_SIZE] = NULL;
    const Py_buffer *prefix = take(&taken, args[0], PyBUF_SIMPLE), *digests = NULL;
    if (prefix == NULL || (digests = take(&taken, args[1], PyBUF_SIMPLE)) == NULL ||
        !check_size(prefix, SM3_BLOCK_SIZE, "prefix")) {
        goto done;
    }
    if (digests->len == 0 || digests->len % SM3_DIGEST_SIZE != 0) {
        PyErr_Format(error_of_input, "expected digests of 32 bytes, at least one, found %zd bytes", digests->len);
        goto done;
    }
    if ((nodes = PyMem_Malloc((size_t)digests->len)) == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    uint8_t top[SM3_DIGEST_SIZE];
    memcpy(nodes, digests->buf, (size_t)digests->len);
    if (digests->len >= RELEASE_BYTES) {
        Py_BEGIN_ALLOW_THREADS
        sm3_root(prefix->buf, (size_t)digests->len / SM3_DIGEST_SIZE, nodes, top);
        Py_END_ALLOW_THREADS
    } else {
        sm3_root(prefix->buf, (size_t)digests->len / SM3_DIGEST_SIZE, nodes, top);
    }
    result = PyBytes_FromStringAndSize((const char *)top, sizeof top);
done:
    PyMem_Free(nodes);
    give_back(&taken);
    return result;
}

static PyObject *hmac(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    if (!check_count(count, 2, "sm3_hmac")) {
        return NULL;
    }
    arguments taken = {.count = 0};
    PyObject *result = NULL;
    const Py_buffer *key = take(&taken, args[0], PyBUF_SIMPLE), *message = NULL;
    if (key != NULL && (message = take(&taken, args[1], PyBUF_SIMPLE)) != NULL) {
        uint8_t mac[SM3_DIGEST_SIZE];
        sm3_hmac(key->buf, (size_t)key->len, message->buf, (size_t)message->len, mac);
        result = PyBytes_FromStringAndSize((const char *)mac, sizeof mac);
        wipe(mac, sizeof mac);
    }
    give_back(&taken);
    return result;
}

static PyObject *hkdf_expand(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    if (!check_count(count, 3, "sm3_hkdf_expand")) {
        return NULL;
    }
    const Py_ssize_t size = PyLong_AsSsize_t(args[2]);
    if (size == -1 && PyErr_Occurred()) {
        return NULL;
    }
    if (size < 1 || size > 255 * SM3_DIGEST_SIZE) {
        PyErr_Format(error_of_input, "expected 1 to 8160 bytes of derived key, found %zd", size);
        return NULL;
    }
    arguments taken = {.count = 0};
    PyObject *result = NULL;
    const Py_buffer *prk = take(&taken, args[0], PyBUF_SIMPLE), *info = NULL;
    if (prk != NULL && (info = take(&taken, args[1], PyBUF_SIMPLE)) != NULL &&
        check_size(prk, SM3_DIGEST_SIZE, "pseudorandom key")) {
        uint8_t derived[255 * SM3_DIGEST_SIZE];
        sm3_hkdf_expand(prk->buf, info->buf, (size_t)info->len, derived, (size_t)size);
        result = PyBytes_FromStringAndSize((const char *)derived, size);
        wipe(derived, (size_t)size);
    }
    give_back(&taken);
    return result;
}

static PyMethodDef functions[] = {
    {"sm3_leaves", (PyCFunction)(void (*)(void))leaves, METH_FASTCALL,
     "sm3_leaves(heads, data, stride, out, /)\n--\n\n"
     "Write the digest of each head of 64 bytes and its piece of data; pieces have stride bytes, the last one the rest."},
    {"sm3_root", (PyCFunction)(void (*)(void))root, METH_FASTCALL,
     "sm3_root(prefix, leaves, /)\n--\n\nReturn the root of an RFC 9162 tree whose nodes start with a block of 64 bytes."},
    {"sm3_hmac", (PyCFunction)(void (*)(void))hmac, METH_FASTCALL, "sm3_hmac(key, message, /)\n--\n\nReturn HMAC-SM3."},
    {"sm3_hkdf_expand", (PyCFunction)(void (*)(void))hkdf_expand, METH_FASTCALL,
     "sm3_hkdf_expand(prk, info, size, /)\n--\n\nReturn HKDF-Expand with HMAC-SM3 (RFC 5869)."},
    {NULL, NULL, 0, NULL},
};

bool add_sm3(PyObject *module)
{
    PyObject *type = PyType_FromSpec(&state_spec);
    if (type == NULL) {
        return false;
    }
    return PyModule_AddObjectRef(module, "Sm3State", type) == 0 && PyModule_AddFunctions(module, functions) == 0;
}
