/* The Python face of SM2. */
#include "binding.h"

#include <string.h>
#include <sys/random.h>

#include "sm2.h"
#include "sm3.h"
#include "wipe.h"

/* What opening a compressed public key gives; it costs a square root, about a fifth of a verification. */
typedef struct {
    uint8_t compressed[SM2_COMPRESSED_SIZE];
    uint8_t point[SM2_POINT_SIZE];
    uint8_t identity[SM2_DIGEST_SIZE];
} opened_key;

/* Opened keys that are kept: an institution sees the same issuers, logs and witnesses again and again. */
#define KEPT 256

typedef struct {
    PyObject_HEAD
    opened_key kept[KEPT]; /* by the last byte of x; all zeros where none is kept */
} sm2_object;

typedef struct {
    PyObject_HEAD
    sm2_signer signer;
} signer_object;

static PyTypeObject *signer_type;

static const opened_key *open_key(PyObject *self, const Py_buffer *compressed)
{
    if (!check_size(compressed, SM2_COMPRESSED_SIZE, "public key")) {
        return NULL;
    }
    const uint8_t *const bytes = compressed->buf;
    opened_key *const place = &((sm2_object *)self)->kept[bytes[SM2_COMPRESSED_SIZE - 1] % KEPT];
    /* An empty place is all zeros, which is no form of a point and must not pass for an opened one. */
    if (bytes[0] == 0 || memcmp(place->compressed, bytes, SM2_COMPRESSED_SIZE) != 0) {
        opened_key fresh;
        if (!sm2_decompress(bytes, fresh.point)) {
            PyErr_SetString(error_of_input, "expected a compressed point of the curve, found none");
            return NULL;
        }
        sm2_identity(fresh.point, fresh.identity);
        memcpy(fresh.compressed, bytes, SM2_COMPRESSED_SIZE);
        *place = fresh;
    }
    return place;
}

/* e = SM3(Z || message), GB/T 32918.2 s.6.1. */
static void digest_of(const uint8_t identity[SM2_DIGEST_SIZE], const Py_buffer *message, uint8_t e[SM2_DIGEST_SIZE])
{
    sm3_hash hash;
    sm3_start(&hash);
    sm3_update(&hash, identity, SM2_DIGEST_SIZE);
    sm3_update(&hash, message->buf, (size_t)message->len);
    sm3_digest(&hash, e);
}

static bool draw(uint8_t fresh[32])
{
    if (getrandom(fresh, 32, 0) != 32) {
        PyErr_SetFromErrno(PyExc_OSError);
        return false;
    }
    return true;
}

static PyObject *sign_with(const sm2_signer *signer, const Py_buffer *message)
{
    uint8_t e[SM2_DIGEST_SIZE], fresh[32], signature[SM2_SIGNATURE_SIZE];
    if (!draw(fresh)) {
        return NULL;
    }
    digest_of(signer->identity, message, e);
    sm2_sign(signer, e, fresh, signature);
    wipe(fresh, sizeof fresh);
    return PyBytes_FromStringAndSize((const char *)signature, sizeof signature);
}

static bool make_signer(sm2_signer *signer, const Py_buffer *private_key)
{
    if (!check_size(private_key, SM2_SCALAR_SIZE, "private key")) {
        return false;
    }
    if (!sm2_signer_init(signer, private_key->buf)) {
        PyErr_SetString(error_of_input, "expected a private key in [1, n-2], found another number");
        return false;
    }
    return true;
}

static PyObject *sm2_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    if (PyTuple_Size(args) != 0 || (keywords != NULL && PyDict_Size(keywords) != 0)) {
        PyErr_SetString(PyExc_TypeError, "Sm2() takes no arguments");
        return NULL;
    }
    sm2_object *self = PyObject_New(sm2_object, type);
    if (self != NULL) {
        memset(self->kept, 0, sizeof self->kept);
    }
    return (PyObject *)self;
}

static void plain_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_Free(self);
    Py_DECREF(type);
}

static PyObject *sm2_public_key(PyObject *self, PyObject *private_key)
{
    (void)self;
    arguments taken = {.count = 0};
    PyObject *result = NULL;
    const Py_buffer *key = take(&taken, private_key, PyBUF_SIMPLE);
    if (key != NULL && check_size(key, SM2_SCALAR_SIZE, "private key")) {
        uint8_t point[SM2_POINT_SIZE], compressed[SM2_COMPRESSED_SIZE];
        if (sm2_public(key->buf, point)) {
            sm2_compress(point, compressed);
            result = PyBytes_FromStringAndSize((const char *)compressed, sizeof compressed);
        } else {
            PyErr_SetString(error_of_input, "expected a private key in [1, n-2], found another number");
        }
    }
    give_back(&taken);
    return result;
}

static PyObject *sm2_verify_message(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    if (!check_count(count, 3, "verify")) {
        return NULL;
    }
    arguments taken = {.count = 0};
    PyObject *result = NULL;
    const Py_buffer *key = take(&taken, args[0], PyBUF_SIMPLE), *message = NULL, *signature = NULL;
    const opened_key *opened = NULL;
    if (key != NULL && (message = take(&taken, args[1], PyBUF_SIMPLE)) != NULL &&
        (signature = take(&taken, args[2], PyBUF_SIMPLE)) != NULL &&
        check_size(signature, SM2_SIGNATURE_SIZE, "signature") && (opened = open_key(self, key)) != NULL) {
        uint8_t e[SM2_DIGEST_SIZE];
        digest_of(opened->identity, message, e);
        result = PyBool_FromLong(sm2_verify(opened->point, e, signature->buf));
    }
    give_back(&taken);
    return result;
}

static PyObject *sm2_agree_keys(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    if (!check_count(count, 2, "agree")) {
        return NULL;
    }
    arguments taken = {.count = 0};
    PyObject *result = NULL;
    const Py_buffer *key = take(&taken, args[0], PyBUF_SIMPLE), *other = NULL;
    const opened_key *opened = NULL;
    if (key != NULL && (other = take(&taken, args[1], PyBUF_SIMPLE)) != NULL &&
        check_size(key, SM2_SCALAR_SIZE, "private key") && (opened = open_key(self, other)) != NULL) {
        uint8_t shared[SM2_SCALAR_SIZE];
        if (sm2_agree(key->buf, opened->point, shared)) {
            result = PyBytes_FromStringAndSize((const char *)shared, sizeof shared);
        } else {
            PyErr_SetString(error_of_input, "expected a private key in [1, n-2], found another number");
        }
        wipe(shared, sizeof shared);
    }
    give_back(&taken);
    return result;
}

/* verify_many(checks): one byte, 1 or 0, for each (public_key, message, signature). */
static PyObject *sm2_verify_messages(PyObject *self, PyObject *checks)
{
    const Py_ssize_t count = PySequence_Size(checks);
    if (count < 0) {
        return NULL;
    }
    PyObject *result = PyBytes_FromStringAndSize(NULL, count);
    uint8_t(*points)[SM2_POINT_SIZE] = PyMem_Malloc((size_t)count * SM2_POINT_SIZE + 1);
    uint8_t(*es)[SM2_DIGEST_SIZE] = PyMem_Malloc((size_t)count * SM2_DIGEST_SIZE + 1);
    uint8_t(*signatures)[SM2_SIGNATURE_SIZE] = PyMem_Malloc((size_t)count * SM2_SIGNATURE_SIZE + 1);
    if (result == NULL || points == NULL || es == NULL || signatures == NULL) {
        PyErr_NoMemory();
        Py_CLEAR(result);
    }
    for (Py_ssize_t i = 0; result != NULL && i < count; i++) {
        PyObject *check = PySequence_GetItem(checks, i), *key, *message, *signature;
        arguments taken = {.count = 0};
        bool right = false;
        if (check != NULL && !PyTuple_Check(check)) {
            PyErr_SetString(PyExc_TypeError, "expected a tuple of public key, message and signature");
        } else if (check != NULL && PyArg_ParseTuple(check, "OOO", &key, &message, &signature)) {
            const Py_buffer *keys = take(&taken, key, PyBUF_SIMPLE), *messages = NULL, *given = NULL;
            const opened_key *opened = NULL;
            if (keys != NULL && (messages = take(&taken, message, PyBUF_SIMPLE)) != NULL &&
                (given = take(&taken, signature, PyBUF_SIMPLE)) != NULL &&
                check_size(given, SM2_SIGNATURE_SIZE, "signature") && (opened = open_key(self, keys)) != NULL) {
                memcpy(points[i], opened->point, SM2_POINT_SIZE);
                digest_of(opened->identity, messages, es[i]);
                memcpy(signatures[i], given->buf, SM2_SIGNATURE_SIZE);
                right = true;
            }
        }
        give_back(&taken);
        Py_XDECREF(check);
        if (!right) {
            Py_CLEAR(result);
        }
    }
    if (result != NULL) {
        uint8_t *const results = (uint8_t *)PyBytes_AsString(result);
        Py_BEGIN_ALLOW_THREADS
        sm2_verify_many((size_t)count, (const uint8_t(*)[SM2_POINT_SIZE])points, (const uint8_t(*)[SM2_DIGEST_SIZE])es,
                        (const uint8_t(*)[SM2_SIGNATURE_SIZE])signatures, results);
        Py_END_ALLOW_THREADS
    }
    PyMem_Free(points);
    PyMem_Free(es);
    PyMem_Free(signatures);
    return result;
}

static PyObject *sm2_make_signer(PyObject *self, PyObject *private_key)
{
    (void)self;
    arguments taken = {.count = 0};
    signer_object *made = NULL;
    const Py_buffer *key = take(&taken, private_key, PyBUF_SIMPLE);
    sm2_signer signer;
    if (key != NULL && make_signer(&signer, key)) {
        made = PyObject_New(signer_object, signer_type);
        if (made != NULL) {
            made->signer = signer;
        }
        wipe(&signer, sizeof signer);
    }
    give_back(&taken);
    return (PyObject *)made;
}

static PyMethodDef sm2_methods[] = {
    {"public_key", sm2_public_key, METH_O, "public_key(private_key, /)\n--\n\nReturn the 33-byte public key."},
    {"verify", (PyCFunction)(void (*)(void))sm2_verify_message, METH_FASTCALL,
     "verify(public_key, message, signature, /)\n--\n\nReturn whether the signature is valid."},
    {"agree", (PyCFunction)(void (*)(void))sm2_agree_keys, METH_FASTCALL,
     "agree(private_key, public_key, /)\n--\n\nReturn the x coordinate of the shared point."},
    {"verify_many", sm2_verify_messages, METH_O,
     "verify_many(checks, /)\n--\n\nReturn a byte, 1 or 0, for each (public_key, message, signature)."},
    {"signer", sm2_make_signer, METH_O, "signer(private_key, /)\n--\n\nReturn the key made ready for many signatures."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot sm2_slots[] = {
    {Py_tp_new, sm2_new},
    {Py_tp_dealloc, plain_dealloc},
    {Py_tp_methods, sm2_methods},
    {Py_tp_doc, "Sm2()\n--\n\nSM2 with user id 1234567812345678."},
    {0, NULL},
};

static PyType_Spec sm2_spec = {"ddtp.crypto._native.Sm2", sizeof(sm2_object), 0, Py_TPFLAGS_DEFAULT, sm2_slots};

static void signer_dealloc(PyObject *self)
{
    wipe(&((signer_object *)self)->signer, sizeof(sm2_signer));
    plain_dealloc(self);
}

static PyObject *signer_sign(PyObject *self, PyObject *message)
{
    arguments taken = {.count = 0};
    const Py_buffer *given = take(&taken, message, PyBUF_SIMPLE);
    PyObject *result = given == NULL ? NULL : sign_with(&((signer_object *)self)->signer, given);
    give_back(&taken);
    return result;
}

static PyMethodDef signer_methods[] = {
    {"sign", signer_sign, METH_O, "sign(message, /)\n--\n\nReturn a 64-byte signature."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot signer_slots[] = {
    {Py_tp_dealloc, signer_dealloc},
    {Py_tp_methods, signer_methods},
    {Py_tp_doc, "A private key of SM2, ready for signing; wiped when it is dropped."},
    {0, NULL},
};

static PyType_Spec signer_spec = {
    "ddtp.crypto._native.Sm2Signer", sizeof(signer_object), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    signer_slots,
};

bool add_sm2(PyObject *module)
{
    PyObject *sm2 = PyType_FromSpec(&sm2_spec), *signer = PyType_FromSpec(&signer_spec);
    if (sm2 == NULL || signer == NULL) {
        return false;
    }
    signer_type = (PyTypeObject *)signer;
    return PyModule_AddObjectRef(module, "Sm2", sm2) == 0 && PyModule_AddObjectRef(module, "Sm2Signer", signer) == 0;
}
