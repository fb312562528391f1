"""The identifiers of each country: how each is written, and what of it can be checked.

A row: (kind, how it is written, how it is checked, words that name it). A check that reads a clock (a century from
today's date) is written here instead of taken from python-stdnum.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from typing import Final, NamedTuple

from stdnum import luhn, verhoeff
from stdnum.au import abn, acn, tfn
from stdnum.ca import sin
from stdnum.de import vat as de_vat
from stdnum.es import nie, nif
from stdnum.fi import hetu
from stdnum.gb import nhs
from stdnum.in_ import aadhaar
from stdnum.iso7064 import mod_11_10
from stdnum.it import iva
from stdnum.pl import pesel
from stdnum.th import pin
from stdnum.tr import tckimlik

Check = Callable[[str], bool]


class Kind(NamedTuple):
    """One identifier of one country."""

    name: str
    written: re.Pattern[str]
    check: Check | None
    """Of the letters and digits alone, in capitals; None: the layout is all there is."""
    named: re.Pattern[str] | None
    bare: bool
    """Whether it is a finding without a word that names it."""
    gate: str
    """How it is written, roughly, in the dialect of pipeline.policy.patterns."""


# letters of scripts that part words by no space may stand beside a number
_BEFORE: Final = r"(?<![0-9A-Za-z])(?<![0-9A-Za-z][.\-/:])"
_AFTER: Final = r"(?![0-9A-Za-z])(?![.\-/:][0-9A-Za-z])"


_GROUP: Final = re.compile(r"\((?!\?)([^()]*)\)")
_LOOK: Final = re.compile(r"\(\?<?[=!][^()]*\)")


def _gate(written: str, *, case: bool) -> str:
    """Without what RE2 has not: a separator's second place is any such separator, and looking back is left out."""
    group = _GROUP.search(written)
    loose = _LOOK.sub(
        "", written if group is None else _GROUP.sub(r"(?:\1)", written).replace("\\1", f"(?:{group[1]})")
    )
    return rf"(?:^|\b|[^0-9A-Za-z])(?:{f'(?-i:{loose})' if case else loose})(?:\b|_)"


def kind_of(
    name: str,
    written: str,
    check: Check | None = None,
    named: str = "",
    *,
    bare: bool = True,
    case: bool = False,
) -> Kind:
    """A row of the table; `named` and `written` are regular expressions, without names or look-around."""
    pattern = re.compile(rf"{_BEFORE}(?:{written}){_AFTER}", 0 if case else re.IGNORECASE)
    said = re.compile(rf"(?<![^\W_])(?:{named})(?![^\W_])", re.IGNORECASE) if named else None
    return Kind(name, pattern, check, said, bare, _gate(written, case=case))


def _weighed(digits: str, weights: tuple[int, ...]) -> int:
    return sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=False))


def is_day(year: int, month: int, day: int) -> bool:
    """Whether there is such a day."""
    try:
        date(year, month, day)
    except ValueError:
        return False
    return True


def _medicare(digits: str) -> bool:
    return digits[0] in "23456" and _weighed(digits, (1, 3, 7, 9, 1, 3, 7, 9)) % 10 == int(digits[8])


def _icao(number: str) -> bool:
    """The check digit of machine-readable travel documents."""
    values = [int(one, 36) for one in number[:-1]]
    return sum(value * (7, 3, 1)[place % 3] for place, value in enumerate(values)) % 10 == int(number[-1])


def _cross(digits: str, weights: tuple[int, ...]) -> int:
    return sum(sum(divmod(int(one) * weight, 10)) for one, weight in zip(digits, weights, strict=True))


def _kvnr(number: str) -> bool:
    digits = f"{ord(number[0]) - 64:02d}{number[1:]}"
    return _cross(digits[:-1], (1, 2) * 5) % 10 == int(digits[-1])


def _rvnr(number: str) -> bool:
    if not is_day(2000, int(number[4:6]), int(number[2:4]) % 50):
        return False
    digits = f"{number[:8]}{ord(number[8]) - 64:02d}{number[9:]}"
    return _cross(digits[:-1], (2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1)) % 10 == int(digits[-1])


def _lanr(digits: str) -> bool:
    return -_weighed(digits, (4, 9, 4, 9, 4, 9)) % 10 == int(digits[6])


def _korean(digits: str) -> bool:
    """A day of birth, and a seventh digit that says which century and whether a citizen or a resident."""
    seventh = int(digits[6])
    century = {9: 1800, 0: 1800, 1: 1900, 2: 1900, 5: 1900, 6: 1900}.get(seventh, 2000)
    return seventh in range(1, 9) and is_day(century + int(digits[:2]), int(digits[2:4]), int(digits[4:6]))


def _personnummer(digits: str) -> bool:
    ten = digits[-10:]
    day = int(ten[4:6]) % 60
    year = int(digits[:4]) if len(digits) == 12 else 2000 + int(ten[:2])
    return is_day(year, int(ten[2:4]), day) and bool(luhn.is_valid(ten))


def _orgnr(digits: str) -> bool:
    return digits[2] >= "2" and bool(luhn.is_valid(digits))


def _dea(number: str) -> bool:
    digits = number[-7:]
    return _weighed(digits, (1, 2, 1, 2, 1, 2)) % 10 == int(digits[6])


def _npi(digits: str) -> bool:
    return len(set(digits[:-1])) > 1 and bool(luhn.is_valid("80840" + digits))


def _steuer_id(digits: str) -> bool:
    """ISO 7064 mod 11,10; of the first ten digits none occurs four times."""
    return max(digits[:10].count(one) for one in digits) < 4 and bool(mod_11_10.is_valid(digits))


def _brn(digits: str) -> bool:
    total = _weighed(digits[:9], (1, 3, 7, 1, 3, 7, 1, 3, 5)) + int(digits[8]) * 5 // 10
    return -total % 10 == int(digits[9])


def _thai(digits: str) -> bool:
    """A province that there is, and the check digit."""
    province = int(digits[1:3])
    return province >= 10 and province not in _NO_PROVINCES and bool(pin.is_valid(digits))


_Uen = tuple[str, tuple[int, ...]]
_UEN_BUSINESS: Final[_Uen] = ("XMKECAWLJDB", (10, 4, 9, 3, 8, 2, 7, 1))
_UEN_COMPANY: Final[_Uen] = ("ZKCMDNERGWH", (10, 8, 6, 4, 9, 7, 5, 3, 1))
_UEN_OTHER: Final[_Uen] = ("ABCDEFGHJKLMNPQRSTUVWX0123456789", (4, 3, 5, 3, 10, 2, 2, 5, 7))


def _uen(number: str) -> bool:
    """Of businesses, companies, others: each with a check letter of its own."""
    if number[0].isdigit():
        letters, weights = _UEN_BUSINESS if len(number) == 9 else _UEN_COMPANY
        return letters[_weighed(number, weights) % 11] == number[-1]
    letters, weights = _UEN_OTHER
    if not set(number) <= set(letters):
        return False
    total = sum(letters.index(one) * weight for one, weight in zip(number, weights, strict=False))
    return letters[(total - 5) % 11] == number[-1]


def _south_african(digits: str) -> bool:
    """A day of birth in some century; citizen, resident or refugee; Luhn."""
    day = (int(digits[2:4]), int(digits[4:6]))
    born = any(is_day(century + int(digits[:2]), *day) for century in (1900, 2000))
    return born and digits[10] in "012" and bool(luhn.is_valid(digits))


def _ph_tin(digits: str) -> bool:
    return _weighed(digits, (9, 8, 7, 6, 5, 4, 3, 2)) % 11 == int(digits[8])


def _nino(number: str) -> bool:
    return number[:2] not in {"BG", "GB", "NK", "KN", "TN", "NT", "ZZ"}


def _mac(number: str) -> bool:
    return number not in {"F" * 12, "0" * 12}


def _hetu(written: str) -> bool:
    try:
        hetu.validate(written, allow_temporary=True)
    except ValueError:  # stdnum's errors are
        return False
    return True


_PASSPORT: Final = r"passports?|pasaporte|passaporto|reisepass|pass-nr|passport number|travel document|여권번호는?|여권"
_LICENCE: Final = r"licen[cs]e|driving|driver'?s?|patente"
_PLATE: Final = r"plates?|vehicles?|car|reg(?:istration)?|bike'?s?|plaka\w*|plakas[ıi]"
_NO_PROVINCES: Final = frozenset((28, 29, 59, 68, 69, 78, 79, 87, 88, 89, 97, 98, 99))

KINDS: Final = (
    kind_of("AU_ABN", r"[1-9]\d(?: ?\d{3}){3}", abn.is_valid, "abn"),
    kind_of("AU_ACN", r"\d{3}([ ]?)\d{3}\1\d{3}", acn.is_valid, "acn"),
    kind_of("AU_TFN", r"\d{3}([ ]?)\d{3}\1\d{3}", tfn.is_valid, "tfn|tax file"),
    kind_of("AU_MEDICARE", r"[2-6]\d{3} \d{5} \d|[2-6]\d{9}", _medicare, "medicare"),
    kind_of("CA_SIN", r"[1-79]\d{2}([ \-]?)\d{3}\1\d{3}", sin.is_valid, "sin|nas|social insurance"),
    kind_of("DE_BSNR", r"\d{9}", None, r"bsnr|betriebsst\w*", bare=False),
    kind_of("DE_HANDELSREGISTER", r"HR[AB] ?\d{1,6}", None, "handelsregister|amtsgericht", case=True),
    kind_of("DE_HEALTH_INSURANCE", r"[A-Z]\d{9}", _kvnr, "kvnr|krankenkasse|egk-nummer|versichertennummer"),
    kind_of("DE_ID_CARD", r"[CFGHJKLMNPRTVWXYZ][CFGHJKLMNPRTVWXYZ0-9]{7}\d", _icao, "personalausweis|ausweis|reisepass|pass-nr"),
    kind_of("DE_ID_CARD", r"T\d{8}", None, "personalausweis|ausweis"),
    kind_of("DE_LANR", r"\d{9}", _lanr, "lanr|arztnummer"),
    kind_of("DE_SOCIAL_SECURITY", r"\d{8}[A-Z]\d{3}", _rvnr, r"rvnr|sozialversicherung\w*"),
    kind_of("DE_TAX_ID", r"[1-9]\d{10}|[1-9]\d \d{3} \d{3} \d{3}", _steuer_id, r"steuer-?id\w*|idnr|tin"),
    kind_of("DE_VAT_ID", r"DE ?[1-9]\d{2} ?\d{3} ?\d{3}", de_vat.is_valid, r"ust-?idnr?|vat"),
    kind_of("ES_NIE", r"[XYZ]-?\d{7}-?[A-Z]", nie.is_valid, "nie|extranjero"),
    kind_of("ES_NIF", r"\d{7,8}-?[A-Z]", lambda number: bool(nif.is_valid(number.zfill(9))), "nif|dni"),
    kind_of("ES_PASSPORT", r"[A-Z]{3}\d{6}", None, _PASSPORT),
    kind_of("FI_PERSONAL_IDENTITY_CODE", r"\d{6}[\-+A-FU-Y]\d{3}[0-9A-Y]", _hetu, r"hetu|henkil\w*|identity code|id code"),
    kind_of("IN_AADHAAR", r"[2-9]\d{3}([ \-:]?)\d{4}\1\d{4}", aadhaar.is_valid, "aadhaar|uidai"),
    kind_of("IN_GSTIN", r"(?:0[1-9]|[12]\d|3[0-7])[A-Z]{5}\d{4}[A-Z][1-9A-Z]Z[0-9A-Z]", None, "gstin|gst"),
    kind_of("IN_PAN", r"[A-Z]{5}\d{4}[A-Z]", None, "pan|permanent account"),
    kind_of("IN_PASSPORT", r"[A-Z][1-9]\d{6}", None, _PASSPORT, bare=False),
    kind_of("IN_VEHICLE_REGISTRATION", r"[A-Z]{2}\d{1,2}[A-Z]{1,3}\d{4}", None, _PLATE, case=True),
    kind_of("IN_VOTER", r"[A-Z]{3}\d{7}", None, "voters?|vote|epic|election"),
    kind_of("IT_DRIVER_LICENSE", r"[A-Z]{2}\d{7}[A-Z]|U1[B-HJ-NP-Z0-9]{7}[A-Z]", None, _LICENCE),
    kind_of("IT_FISCAL_CODE", r"[A-Z]{6}\d{2}[A-EHLMPR-T]\d{2}[A-Z]\d{3}[A-Z]", None, "codice fiscale|fiscal code"),
    kind_of("IT_IDENTITY_CARD", r"[A-Z]{2} ?\d{7}|\d{7}[A-Z]{2}|[A-Z]{2}\d{5}[A-Z]{2}", None, "carta d'identit[aà]|identity card|" + _PASSPORT),
    kind_of("IT_VAT_CODE", r"\d{11}|\d{8}_\d{3}", lambda digits: int(digits) > 9 and bool(iva.is_valid(digits)), "partita iva|p\\.? ?iva|vat"),
    kind_of("KR_BRN", r"[1-9]\d{2}-?\d{2}-?\d{5}", _brn, "brn|business registration"),
    kind_of("KR_DRIVER_LICENSE", r"(?:1[1-9]|2[0-8])([ \-])\d{2}\1\d{6}\1\d{2}", None, _LICENCE),
    kind_of("KR_DRIVER_LICENSE", r"(?:1[1-9]|2[0-8])\d{10}", None, _LICENCE, bare=False),
    kind_of("KR_PASSPORT", r"[MSRODG]\d{3}[A-Z]\d{4}|[MSRODG]\d{8}", None, _PASSPORT),
    kind_of("KR_RRN", r"\d{6}-?[1-8]\d{6}", _korean, "rrn|frn|resident registration|korean"),
    kind_of("MAC_ADDRESS", r"[0-9A-F]{2}([:\-])(?:[0-9A-F]{2}\1){4}[0-9A-F]{2}|[0-9A-F]{4}\.[0-9A-F]{4}\.[0-9A-F]{4}", _mac, "macs?"),
    kind_of("MEDICAL_LICENSE", r"[ABCDEFGHJKLMPRSTUX][A-Z9]\d{7}", _dea, "dea"),
    kind_of("NG_VEHICLE_REGISTRATION", r"[A-Z]{3}[\- ]?\d{3}[A-Z]{2}", None, _PLATE),
    kind_of("PH_MOBILE_NUMBER", r"(?:\+63|0)[ \-]?\(?9\d{2}\)?[ \-]?\d{3}[ \-]?\d{4}", None, "mobile|telepono|cp"),
    kind_of("PH_TIN", r"\d{3}(-?)\d{3}\1\d{3}(?:\1\d{3})?", _ph_tin, "tin|tax id"),
    kind_of("PL_PESEL", r"\d{11}", pesel.is_valid, "pesel"),
    kind_of("SE_ORGANISATIONSNUMMER", r"\d{6}-?\d{4}", _orgnr, r"org\w*nummer|orgnr|company identity"),
    kind_of("SE_PERSONNUMMER", r"(?:18|19|20)\d{6}[\-+]?\d{4}|\d{6}[\-+]?\d{4}", _personnummer, "personnummer|pnr|identity code|id code"),
    kind_of("SG_NRIC_FIN", r"[STFGM]\d{7}[A-Z]", None, "nric|fin"),
    kind_of("SG_UEN", r"\d{8}[A-Z]|\d{9}[A-Z]|[RST]\d{2}[A-Z]{2}\d{4}[A-Z]", _uen, "uen"),
    kind_of("TH_TNIN", r"[1-8]\d{12}|[1-8]-\d{4}-\d{5}-\d{2}-\d", _thai, "thai|tnin|national id"),
    kind_of("TR_LICENSE_PLATE", r"(?:0[1-9]|[1-7]\d|8[01])( ?)[A-Z]{1,3}\1\d{2,4}", None, _PLATE, case=True),
    kind_of("TR_NATIONAL_ID", r"[1-9]\d{10}", tckimlik.is_valid, r"tckn|tc kimlik\w*|kimlik|turkish id"),
    kind_of("TR_PHONE_NUMBER", r"(?:\+90|0)[ \-]?\(?[2-5]\d{2}\)?[ \-.]?\d{3}[ \-.]?\d{2}[ \-.]?\d{2}", None, "cep|telefon\\w*|phone"),
    kind_of("TR_PHONE_NUMBER", r"[2-5]\d{2}([ \-.])\d{3}\1\d{2}\1\d{2}", None, "cep|telefon\\w*|phone"),
    kind_of("TR_PHONE_NUMBER", r"5\d{9}", None, "cep|telefon\\w*|phone", bare=False),
    kind_of("UK_DRIVING_LICENCE", r"[A-Z]{1,5}9{0,4}(?<=[A-Z9]{5})\d[0156]\d(?:0[1-9]|[12]\d|3[01])\d[A-Z9]{2}[A-Z0-9]{3}", None, _LICENCE),
    kind_of("UK_NHS", r"\d{3}([ \-]?)\d{3}\1\d{4}", nhs.is_valid, "nhs"),
    kind_of("UK_NINO", r"[A-CEGHJ-PRSTW-Z][A-CEGHJ-NPRSTW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]|[A-CEGHJ-PRSTW-Z][A-CEGHJ-NPRSTW-Z] \d{3} ?\d{3} ?[A-D]", _nino, "nino?|national insurance"),
    kind_of("UK_POSTCODE", r"GIR ?0AA|(?:[A-PR-UWYZ][0-9]{1,2}|[A-PR-UWYZ][A-HK-Y][0-9]{1,2}|[A-PR-UWYZ][0-9][A-HJKPS-UW]|[A-PR-UWYZ][A-HK-Y][0-9][ABEHMNPRV-Y]) ?[0-9][ABD-HJLNP-UW-Z]{2}", None, "postcode|address", case=True),
    kind_of("UK_VEHICLE_REGISTRATION", r"[A-HJ-PR-Y]{2}(?:0[1-9]|1\d|2[0-9]|5[1-9]|6\d|7\d)[ \-]?[A-HJ-PR-Z]{3}", None, _PLATE, case=True),
    kind_of("UK_VEHICLE_REGISTRATION", r"[A-HJ-NPR-TV-Y]\d{1,3} ?[A-HJ-PR-Z]{3}|[A-HJ-PR-Z]{3} ?\d{1,3}[A-HJ-NPR-TV-Y]", None, _PLATE, case=True),
    kind_of("US_BANK_NUMBER", r"\d{8,17}", None, r"bank account|account (?:number|no|#)|acct", bare=False),
    kind_of("US_DRIVER_LICENSE", r"[A-Z]\d{8}", None, _LICENCE, bare=False),
    kind_of("US_MBI", r"[1-9][AC-HJKMNP-RT-Y][AC-HJKMNP-RT-Y0-9]\d(-?)[AC-HJKMNP-RT-Y][AC-HJKMNP-RT-Y0-9]\d\1[AC-HJKMNP-RT-Y]{2}\d{2}", None, "mbi|medicare|patient"),
    kind_of("US_NPI", r"[12]\d{3}([ \-]?)\d{3}\1\d{3}", _npi, "npi|provider"),
    kind_of("US_PASSPORT", r"[A-Z]?\d{8}(?:(?<=[A-Z]\d{8})|\d)", None, _PASSPORT, bare=False),
    kind_of("ZA_ID_NUMBER", r"\d{13}|\d{6} \d{4} \d{3}", _south_african, r"south african|rsa|sa id|permanent resident|refugee|id number"),
    kind_of("NG_NIN", r"\d{11}", verhoeff.is_valid, "nin|national identification", bare=False),
)  # fmt: skip
"""In the order of countries."""
