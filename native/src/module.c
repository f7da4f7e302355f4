/* The module `_native`: which processor path is used, which exceptions are raised, and the three primitives. */
#include "binding.h"

#include <string.h>

#include "cpu.h"

PyObject *error_of_tag, *error_of_input;

Py_buffer *take(arguments *taken, PyObject *object, int flags)
{
    Py_buffer *view = &taken->views[taken->count];
    if (PyObject_GetBuffer(object, view, flags) < 0) {
        return NULL;
    }
    taken->is_output[taken->count] = (flags & PyBUF_WRITABLE) != 0;
    taken->count++;
    return view;
}

void give_back(arguments *taken)
{
    while (taken->count > 0) {
        PyBuffer_Release(&taken->views[--taken->count]);
    }
}

bool check_size(const Py_buffer *view, Py_ssize_t size, const char *what)
{
    if (view->len != size) {
        PyErr_Format(error_of_input, "expected %zd bytes of %s, found %zd", size, what, view->len);
        return false;
    }
    return true;
}

bool check_apart(const Py_buffer *in, const Py_buffer *out, bool same_allowed)
{
    const uintptr_t first = (uintptr_t)in->buf, second = (uintptr_t)out->buf;
    if ((first == second && same_allowed) || first + (uintptr_t)in->len <= second ||
        second + (uintptr_t)out->len <= first) {
        return true;
    }
    PyErr_SetString(error_of_input, "expected input and output that do not overlap, found that they do");
    return false;
}

bool check_outputs_apart(const arguments *taken)
{
    for (int out = 0; out < taken->count; out++) {
        for (int other = 0; taken->is_output[out] && other < taken->count; other++) {
            if (other != out && !check_apart(&taken->views[other], &taken->views[out], false)) {
                return false;
            }
        }
    }
    return true;
}

bool check_count(Py_ssize_t found, Py_ssize_t expected, const char *function)
{
    if (found != expected) {
        PyErr_Format(PyExc_TypeError, "%s() takes %zd arguments, found %zd", function, expected, found);
        return false;
    }
    return true;
}

static PyObject *use_errors(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    if (!check_count(count, 2, "use_errors")) {
        return NULL;
    }
    if (!PyExceptionClass_Check(args[0]) || !PyExceptionClass_Check(args[1])) {
        PyErr_SetString(PyExc_TypeError, "use_errors() takes two exception classes");
        return NULL;
    }
    PyObject *const old_tag = error_of_tag, *const old_input = error_of_input;
    error_of_tag = Py_NewRef(args[0]);
    error_of_input = Py_NewRef(args[1]);
    Py_DECREF(old_tag);
    Py_DECREF(old_input);
    Py_RETURN_NONE;
}

static PyObject *level(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    return PyUnicode_FromString(cpu_name(cpu_used()));
}

static PyObject *levels(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    PyObject *names = PyList_New(0);
    const cpu_level kept = cpu_used();
    for (int each = 0; names != NULL && each < CPU_LEVELS; each++) {
        if (!cpu_limit((cpu_level)each)) {
            continue;
        }
        PyObject *name = PyUnicode_FromString(cpu_name((cpu_level)each));
        if (name == NULL || PyList_Append(names, name) < 0) {
            Py_CLEAR(names);
        }
        Py_XDECREF(name);
    }
    cpu_limit(kept);
    return names;
}

static PyObject *limit(PyObject *module, PyObject *name)
{
    (void)module;
    Py_ssize_t size;
    const char *text = PyUnicode_AsUTF8AndSize(name, &size);
    if (text == NULL) {
        return NULL;
    }
    for (int each = 0; each < CPU_LEVELS; each++) {
        const char *const known = cpu_name((cpu_level)each);
        if (strlen(known) == (size_t)size && strcmp(known, text) == 0 && cpu_limit((cpu_level)each)) {
            Py_RETURN_NONE;
        }
    }
    PyErr_Format(PyExc_ValueError, "expected a level of this processor, found %R", name);
    return NULL;
}

static PyMethodDef functions[] = {
    {"use_errors", (PyCFunction)(void (*)(void))use_errors, METH_FASTCALL,
     "use_errors(tag, input, /)\n--\n\nRaise these exceptions for a tag that does not match and for malformed input."},
    {"level", level, METH_NOARGS, "level()\n--\n\nReturn the name of the processor path in use."},
    {"levels", levels, METH_NOARGS, "levels()\n--\n\nReturn the names of the paths that this processor has, slowest first."},
    {"limit", limit, METH_O, "limit(level, /)\n--\n\nUse that path in what is made from now on; for tests and benchmarks."},
    {NULL, NULL, 0, NULL},
};

static int execute(PyObject *module)
{
    if (error_of_tag == NULL) { /* one for the process: a second import must not take away what use_errors gave */
        error_of_tag = Py_NewRef(PyExc_ValueError);
        error_of_input = Py_NewRef(PyExc_ValueError);
    }
    if (PyModule_AddStringConstant(module, "VERSION", DDTP_NATIVE_VERSION) < 0) {
        return -1;
    }
    return add_sm2(module) && add_sm3(module) && add_sm4(module) ? 0 : -1;
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, execute}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_native", "SM2, SM3 and SM4-GCM at the speed of the processor.", 0, functions, slots,
    NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__native(void)
{
    return PyModuleDef_Init(&definition);
}
