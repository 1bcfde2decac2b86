"""EchoRL for vision-language and text models. The algorithm itself is in `echorl_vl.core`."""

__version__ = "0.1.0"
