"""What Achromat calls: the plugin's classes, and around each method what tells an exception, with its
function and line, before it ends the call. WebAssembly itself says only that there was one."""

import plugin
from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import host


def _place(trace):
    frames = []
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_filename != __file__:
            frames.append(f"{code.co_name} ({code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno})")
        trace = trace.tb_next
    return f", in {', called by '.join(frames[:-5:-1])}" if frames else ""


def _told(name, method, expected):
    def told(*arguments):
        try:
            answer = method(*arguments)
            if not isinstance(answer, expected):
                raise TypeError(f"{name} answered {answer!r:.200}, which is not of {expected}")
            return answer
        except Err:
            raise
        except BaseException as error:
            message = f"{type(error).__name__}: {error}"[:600]
            host.log(host.Level.ERROR, message + _place(error.__traceback__))
            raise

    return told


for _name, _class in list(vars(plugin).items()):
    _exported = getattr(exports, _name, None)
    if isinstance(_class, type) and isinstance(_exported, type):
        _calls = {}
        for _call, _promise in vars(_exported).items():
            if callable(_promise) and _call[0] != "_":
                _expected = _promise.__annotations__.get("return") or type(None)
                _calls[_call] = _told(_call, getattr(_class, _call), _expected)
        globals()[_name] = type(_name, (_class,), _calls)
