/* The Python face of SM4-GCM: whole messages, messages in parts, and runs of chunks. */
#include "binding.h"

#include <string.h>

#include "chunks.h"
#include "sm4.h"
#include "wipe.h"

/* Python places objects on 16 bytes; the expanded key needs 64, so it lies somewhere in this room. */
typedef struct {
    PyObject_HEAD
    uint8_t room[sizeof(sm4_key) + 64];
} gcm_object;

typedef struct {
    PyObject_HEAD
    PyObject *gcm; /* owns the key */
    bool running;
    sm4_stream stream;
} stream_object;

/* NIST SP 800-38D s.5.2.1.1: 2^32 - 2 blocks, because the block counter has 32 bits and two values are taken. */
#define MAX_MESSAGE_SIZE (((Py_ssize_t)1 << 36) - 32)

static PyTypeObject *stream_type;

static sm4_key *key_of(PyObject *self)
{
    const uintptr_t room = (uintptr_t)((gcm_object *)self)->room;
    return (sm4_key *)((room + 63) & ~(uintptr_t)63);
}

static PyObject *gcm_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    if (PyTuple_Size(args) != 1 || (keywords != NULL && PyDict_Size(keywords) != 0)) {
        PyErr_SetString(PyExc_TypeError, "Sm4Gcm() takes one key");
        return NULL;
    }
    arguments taken = {.count = 0};
    const Py_buffer *key = take(&taken, PyTuple_GetItem(args, 0), PyBUF_SIMPLE);
    PyObject *self = NULL;
    if (key != NULL && check_size(key, SM4_KEY_SIZE, "key")) {
        self = (PyObject *)PyObject_New(gcm_object, type);
        if (self != NULL) {
            sm4_expand(key_of(self), key->buf);
        }
    }
    give_back(&taken);
    return self;
}

static void gcm_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    wipe(((gcm_object *)self)->room, sizeof((gcm_object *)self)->room);
    PyObject_Free(self);
    Py_DECREF(type);
}

static void seal_message(const sm4_key *key, const uint8_t *nonce, const Py_buffer *aad, const Py_buffer *in, uint8_t *out)
{
    sm4_seal(key, nonce, aad->buf, (size_t)aad->len, in->buf, (size_t)in->len, out, out + in->len);
}

static bool open_message(const sm4_key *key, const uint8_t *nonce, const Py_buffer *aad, const Py_buffer *in, uint8_t *out)
{
    const size_t size = (size_t)in->len - SM4_TAG_SIZE;
    const uint8_t *const bytes = in->buf;
    return sm4_open(key, nonce, aad->buf, (size_t)aad->len, bytes, size, out, bytes + size);
}

/* Seals or opens one message; `out` is NULL for a new bytes object. */
static PyObject *message(PyObject *self, bool sealing, PyObject *nonce, PyObject *data, PyObject *aad, PyObject *out)
{
    arguments taken = {.count = 0};
    PyObject *result = NULL;
    const Py_buffer *nonces = take(&taken, nonce, PyBUF_SIMPLE), *in = NULL, *associated = NULL, *target = NULL;
    if (nonces == NULL || (in = take(&taken, data, PyBUF_SIMPLE)) == NULL ||
        (associated = take(&taken, aad, PyBUF_SIMPLE)) == NULL ||
        (out != NULL && (target = take(&taken, out, PyBUF_WRITABLE)) == NULL) ||
        !check_size(nonces, SM4_NONCE_SIZE, "nonce")) {
        goto done;
    }
    const Py_ssize_t size = sealing ? in->len + SM4_TAG_SIZE : in->len - SM4_TAG_SIZE;
    if (sealing && in->len > MAX_MESSAGE_SIZE) {
        PyErr_Format(error_of_input, "expected at most %zd bytes of plaintext, found more", (Py_ssize_t)MAX_MESSAGE_SIZE);
        goto done;
    }
    if (size < 0 || size > MAX_MESSAGE_SIZE + (sealing ? SM4_TAG_SIZE : 0)) {
        PyErr_SetString(error_of_tag, "expected a ciphertext with a 16-byte tag, found another length");
        goto done;
    }
    uint8_t *bytes;
    if (target == NULL) {
        result = PyBytes_FromStringAndSize(NULL, size);
        bytes = result == NULL ? NULL : (uint8_t *)PyBytes_AsString(result);
    } else {
        bytes = check_size(target, size, "room for the result") && check_apart(in, target, true) ? target->buf : NULL;
        result = bytes == NULL ? NULL : PyLong_FromSsize_t(size);
    }
    if (bytes == NULL || result == NULL) {
        Py_CLEAR(result);
        goto done;
    }
    bool right = true;
    const sm4_key *const key = key_of(self);
    uint8_t nonce_bytes[SM4_NONCE_SIZE]; /* whoever changes theirs meanwhile does not get two nonces in one message */
    memcpy(nonce_bytes, nonces->buf, sizeof nonce_bytes);
    if (in->len >= RELEASE_BYTES) {
        Py_BEGIN_ALLOW_THREADS
        if (sealing) {
            seal_message(key, nonce_bytes, associated, in, bytes);
        } else {
            right = open_message(key, nonce_bytes, associated, in, bytes);
        }
        Py_END_ALLOW_THREADS
    } else if (sealing) {
        seal_message(key, nonce_bytes, associated, in, bytes);
    } else {
        right = open_message(key, nonce_bytes, associated, in, bytes);
    }
    if (!right) {
        Py_CLEAR(result);
        PyErr_SetString(error_of_tag, "expected the tag of this ciphertext, found another");
    }
done:
    give_back(&taken);
    return result;
}

static PyObject *gcm_seal(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    return check_count(count, 3, "seal") ? message(self, true, args[0], args[1], args[2], NULL) : NULL;
}

static PyObject *gcm_open(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    return check_count(count, 3, "open") ? message(self, false, args[0], args[1], args[2], NULL) : NULL;
}

static PyObject *gcm_seal_into(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    return check_count(count, 4, "seal_into") ? message(self, true, args[0], args[1], args[2], args[3]) : NULL;
}

static PyObject *gcm_open_into(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    return check_count(count, 4, "open_into") ? message(self, false, args[0], args[1], args[2], args[3]) : NULL;
}

/* One side of a run of chunks and what to compute of it. */
static bool take_leaves(arguments *taken, PyObject *heads, PyObject *digests, Py_ssize_t count, chunk_leaves *leaves)
{
    if (heads == Py_None) {
        *leaves = (chunk_leaves){NULL, NULL};
        return true;
    }
    const Py_buffer *given = take(taken, heads, PyBUF_SIMPLE), *out = NULL;
    if (given == NULL || (out = take(taken, digests, PyBUF_WRITABLE)) == NULL ||
        !check_size(given, count * SM3_BLOCK_SIZE, "heads") || !check_size(out, count * SM3_DIGEST_SIZE, "leaves")) {
        return false;
    }
    *leaves = (chunk_leaves){given->buf, out->buf};
    return true;
}

/* Checks that `given` bytes are `count` chunks of which only the last one may be shorter, and that no index wraps: two
 * chunks would get one nonce. */
static bool measure(chunk_run *run, Py_ssize_t count, Py_ssize_t chunk_size, Py_ssize_t given, bool sealing)
{
    const bool countable = count >= 1 && count <= PY_SSIZE_T_MAX / (2 * SM3_BLOCK_SIZE) && chunk_size >= 1 &&
                           chunk_size <= MAX_MESSAGE_SIZE && count <= PY_SSIZE_T_MAX / 2 / chunk_size;
    const Py_ssize_t size = countable && !sealing ? given - count * SM4_TAG_SIZE : given;
    if (!countable || size < (count - 1) * chunk_size || size > count * chunk_size) {
        PyErr_Format(error_of_input, "expected %zd chunks of %zd bytes, found %zd bytes", count, chunk_size, size);
        return false;
    }
    if (run->first > UINT64_MAX - (uint64_t)(count - 1)) {
        PyErr_Format(error_of_input, "expected chunks with an index below 2^64, found %zd from %llu on", count,
                     (unsigned long long)run->first);
        return false;
    }
    run->count = (size_t)count;
    run->chunk_size = (size_t)chunk_size;
    run->last_size = (size_t)(size - (count - 1) * chunk_size);
    return true;
}

/* seal_chunks, open_chunks and open_chunks_into: base_nonce, first, count, chunk_size, in, heads and leaves of both sides,
 * and for the last one out. Otherwise the result is a new object, because its memory need not be cleared first. */
static PyObject *chunks(PyObject *self, PyObject *args, bool sealing, bool into)
{
    PyObject *base, *index, *in, *plain_heads, *plain_leaves, *sealed_heads, *sealed_leaves, *out = NULL;
    Py_ssize_t count, chunk_size;
    if (!PyArg_ParseTuple(args, into ? "OOnnOOOOOO" : "OOnnOOOOO", &base, &index, &count, &chunk_size, &in, &plain_heads,
                          &plain_leaves, &sealed_heads, &sealed_leaves, &out)) {
        return NULL;
    }
    const unsigned long long first = PyLong_AsUnsignedLongLong(index);
    if (first == (unsigned long long)-1 && PyErr_Occurred()) {
        return NULL;
    }
    chunk_run run = {.key = key_of(self), .first = first};
    arguments taken = {.count = 0};
    PyObject *result = NULL;
    const Py_buffer *nonce = take(&taken, base, PyBUF_SIMPLE), *source = NULL;
    if (nonce == NULL || (source = take(&taken, in, PyBUF_SIMPLE)) == NULL ||
        !check_size(nonce, SM4_NONCE_SIZE, "nonce") ||
        !measure(&run, count, chunk_size, source->len, sealing) ||
        !take_leaves(&taken, plain_heads, plain_leaves, count, &run.plain) ||
        !take_leaves(&taken, sealed_heads, sealed_leaves, count, &run.sealed)) {
        goto done;
    }
    const Py_ssize_t tags = count * SM4_TAG_SIZE, size = sealing ? source->len + tags : source->len - tags;
    uint8_t *target;
    if (into) {
        const Py_buffer *given = take(&taken, out, PyBUF_WRITABLE);
        if (given == NULL || !check_size(given, size, "room for the result")) {
            goto done;
        }
        target = given->buf;
        result = Py_NewRef(Py_None);
    } else {
        result = PyBytes_FromStringAndSize(NULL, size);
        if (result == NULL) {
            goto done;
        }
        target = (uint8_t *)PyBytes_AsString(result);
    }
    if (!check_outputs_apart(&taken)) {
        Py_CLEAR(result);
        goto done;
    }
    memcpy(run.base_nonce, nonce->buf, SM4_NONCE_SIZE);
    size_t opened = run.count;
    Py_BEGIN_ALLOW_THREADS
    if (sealing) {
        chunks_seal(&run, source->buf, target);
    } else {
        opened = chunks_open(&run, source->buf, target);
    }
    Py_END_ALLOW_THREADS
    if (opened != run.count) {
        Py_CLEAR(result);
        PyErr_Format(error_of_tag, "expected the tag of chunk %llu, found another", first + opened);
    }
done:
    give_back(&taken);
    return result;
}

static PyObject *gcm_seal_chunks(PyObject *self, PyObject *args)
{
    return chunks(self, args, true, false);
}

static PyObject *gcm_open_chunks(PyObject *self, PyObject *args)
{
    return chunks(self, args, false, false);
}

static PyObject *gcm_open_chunks_into(PyObject *self, PyObject *args)
{
    return chunks(self, args, false, true);
}

static PyObject *gcm_stream(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    if (!check_count(count, 3, "stream")) {
        return NULL;
    }
    const int sealing = PyObject_IsTrue(args[2]);
    arguments taken = {.count = 0};
    stream_object *stream = NULL;
    const Py_buffer *nonce = NULL, *aad = NULL;
    if (sealing >= 0 && (nonce = take(&taken, args[0], PyBUF_SIMPLE)) != NULL &&
        (aad = take(&taken, args[1], PyBUF_SIMPLE)) != NULL && check_size(nonce, SM4_NONCE_SIZE, "nonce") &&
        (stream = PyObject_New(stream_object, stream_type)) != NULL) {
        stream->gcm = Py_NewRef(self);
        stream->running = true;
        sm4_stream_start(&stream->stream, key_of(self), sealing, nonce->buf, aad->buf, (size_t)aad->len);
    }
    give_back(&taken);
    return (PyObject *)stream;
}

static PyMethodDef gcm_methods[] = {
    {"seal", (PyCFunction)(void (*)(void))gcm_seal, METH_FASTCALL,
     "seal(nonce, plaintext, aad, /)\n--\n\nReturn ciphertext and tag."},
    {"open", (PyCFunction)(void (*)(void))gcm_open, METH_FASTCALL,
     "open(nonce, sealed, aad, /)\n--\n\nReturn the plaintext, if the tag matches."},
    {"seal_into", (PyCFunction)(void (*)(void))gcm_seal_into, METH_FASTCALL,
     "seal_into(nonce, plaintext, aad, out, /)\n--\n\nWrite ciphertext and tag to out, which may start where plaintext does."},
    {"open_into", (PyCFunction)(void (*)(void))gcm_open_into, METH_FASTCALL,
     "open_into(nonce, sealed, aad, out, /)\n--\n\nWrite the plaintext to out; zeros if the tag does not match."},
    {"seal_chunks", gcm_seal_chunks, METH_VARARGS,
     "seal_chunks(base_nonce, first, count, chunk_size, plain, plain_heads, plain_leaves, sealed_heads, sealed_leaves, /)\n"
     "--\n\nReturn the sealed chunks, under nonces base XOR index, and write the leaves whose heads are given."},
    {"open_chunks", gcm_open_chunks, METH_VARARGS,
     "open_chunks(base_nonce, first, count, chunk_size, sealed, plain_heads, plain_leaves, sealed_heads, sealed_leaves, /)\n"
     "--\n\nReturn the plain chunks if all tags match, and write the leaves whose heads are given."},
    {"open_chunks_into", gcm_open_chunks_into, METH_VARARGS,
     "open_chunks_into(base_nonce, first, count, chunk_size, sealed, plain_heads, plain_leaves, sealed_heads, sealed_leaves, "
     "out, /)\n--\n\nWrite the plain chunks to out, and the leaves whose heads are given; zeros if a tag does not match."},
    {"stream", (PyCFunction)(void (*)(void))gcm_stream, METH_FASTCALL,
     "stream(nonce, aad, sealing, /)\n--\n\nStart a message that comes in parts."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot gcm_slots[] = {
    {Py_tp_new, gcm_new},
    {Py_tp_dealloc, gcm_dealloc},
    {Py_tp_methods, gcm_methods},
    {Py_tp_doc, "Sm4Gcm(key, /)\n--\n\nSM4-GCM under one key of 16 bytes."},
    {0, NULL},
};

static PyType_Spec gcm_spec = {
    "ddtp.crypto._native.Sm4Gcm", sizeof(gcm_object), 0, Py_TPFLAGS_DEFAULT, gcm_slots,
};

static void stream_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    wipe(&((stream_object *)self)->stream, sizeof(sm4_stream));
    Py_DECREF(((stream_object *)self)->gcm);
    PyObject_Free(self);
    Py_DECREF(type);
}

static bool check_running(const stream_object *stream)
{
    if (!stream->running) {
        PyErr_SetString(error_of_input, "expected a message under way, found one that is finished");
    }
    return stream->running;
}

/* The tag of a message that is being opened is for comparing only: to tell it would be to sign a forgery. */
static bool check_direction(const stream_object *stream, bool sealing)
{
    if (stream->stream.sealing != sealing) {
        PyErr_Format(error_of_input, "expected a message that is being %s, found the other direction",
                     sealing ? "sealed" : "opened");
    }
    return stream->stream.sealing == sealing;
}

/* A longer message would use a part of the key stream twice. */
static bool check_total(const stream_object *stream, Py_ssize_t more)
{
    if (more <= MAX_MESSAGE_SIZE - (Py_ssize_t)stream->stream.size) {
        return true;
    }
    PyErr_Format(error_of_input, "expected at most %zd bytes of a message, found more", (Py_ssize_t)MAX_MESSAGE_SIZE);
    return false;
}

static PyObject *stream_update(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    stream_object *const stream = (stream_object *)self;
    if (!check_count(count, 2, "update_into")) {
        return NULL;
    }
    arguments taken = {.count = 0};
    PyObject *result = NULL;
    const Py_buffer *in = take(&taken, args[0], PyBUF_SIMPLE), *out = NULL;
    if (in != NULL && (out = take(&taken, args[1], PyBUF_WRITABLE)) != NULL &&
        check_size(out, in->len, "room for the result") && check_apart(in, out, true) &&
        /* only now: an object that gives its buffer may run Python code, which may end the message */
        check_running(stream) && check_total(stream, in->len)) {
        /* With the GIL: a stream that two threads update at once must stay a stream. */
        sm4_stream_update(&stream->stream, in->buf, (size_t)in->len, out->buf);
        result = Py_NewRef(Py_None);
    }
    give_back(&taken);
    return result;
}

static PyObject *stream_finish(PyObject *self, PyObject *unused)
{
    stream_object *const stream = (stream_object *)self;
    (void)unused;
    if (!check_running(stream) || !check_direction(stream, true)) {
        return NULL;
    }
    uint8_t tag[SM4_TAG_SIZE];
    stream->running = false;
    sm4_stream_finish(&stream->stream, tag);
    return PyBytes_FromStringAndSize((const char *)tag, sizeof tag);
}

static PyObject *stream_check(PyObject *self, PyObject *tag)
{
    stream_object *const stream = (stream_object *)self;
    arguments taken = {.count = 0};
    PyObject *result = NULL;
    const Py_buffer *given = take(&taken, tag, PyBUF_SIMPLE);
    if (given != NULL && check_size(given, SM4_TAG_SIZE, "tag") && check_running(stream) && check_direction(stream, false)) {
        uint8_t right[SM4_TAG_SIZE];
        stream->running = false;
        sm4_stream_finish(&stream->stream, right);
        if (equal_in_constant_time(right, given->buf, SM4_TAG_SIZE)) {
            result = Py_NewRef(Py_None);
        } else {
            PyErr_SetString(error_of_tag, "expected the tag of this ciphertext, found another");
        }
        wipe(right, sizeof right);
    }
    give_back(&taken);
    return result;
}

static PyMethodDef stream_methods[] = {
    {"update_into", (PyCFunction)(void (*)(void))stream_update, METH_FASTCALL,
     "update_into(data, out, /)\n--\n\nSeal or open the next part, of any size, to out."},
    {"finish", stream_finish, METH_NOARGS, "finish()\n--\n\nReturn the tag of the message."},
    {"check", stream_check, METH_O,
     "check(tag, /)\n--\n\nEnd the message; raise if the tag is not its own, and then no part may be used."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot stream_slots[] = {
    {Py_tp_dealloc, stream_dealloc},
    {Py_tp_methods, stream_methods},
    {Py_tp_doc, "A message of SM4-GCM under way; made by Sm4Gcm.stream."},
    {0, NULL},
};

static PyType_Spec stream_spec = {
    "ddtp.crypto._native.Sm4Stream", sizeof(stream_object), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    stream_slots,
};

bool add_sm4(PyObject *module)
{
    PyObject *gcm = PyType_FromSpec(&gcm_spec), *stream = PyType_FromSpec(&stream_spec);
    if (gcm == NULL || stream == NULL) {
        return false;
    }
    stream_type = (PyTypeObject *)stream;
    return PyModule_AddObjectRef(module, "Sm4Gcm", gcm) == 0 && PyModule_AddObjectRef(module, "Sm4Stream", stream) == 0;
}
