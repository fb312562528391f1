"""More identifiers: those that two check digits, or letters and groups beside one, tell from other numbers."""

from __future__ import annotations

from typing import Final

from stdnum import lei
from stdnum.ar import cuit
from stdnum.br import cnpj, cpf
from stdnum.ch import ssn as ch_ssn
from stdnum.ch import uid
from stdnum.cl import rut
from stdnum.cn import ric
from stdnum.cz import rc
from stdnum.do import cedula
from stdnum.ee import ik
from stdnum.es import cif
from stdnum.eu import vat
from stdnum.fr import nir
from stdnum.gb import vat as gb_vat
from stdnum.gr import amka
from stdnum.hr import oib
from stdnum.ie import pps
from stdnum.il import idnr as il_idnr
from stdnum.is_ import kennitala
from stdnum.jp import cn
from stdnum.lv import pvn
from stdnum.mx import curp
from stdnum.nl import bsn
from stdnum.nz import ird
from stdnum.pk import cnic
from stdnum.pt import nif as pt_nif
from stdnum.ro import cnp
from stdnum.us import ein
from stdnum.ve import rif

from pipeline.policy.national_kinds import Kind, is_day, kind_of

_NO_FIRST: Final = (3, 7, 6, 1, 8, 9, 4, 5, 2, 1)
_NO_SECOND: Final = (5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1)


def _belgian(digits: str) -> bool:
    """Mod 97; of who was born since 2000 a 2 stands before the number."""
    number, check = int(digits[:9]), int(digits[9:])
    return is_day(2000, int(digits[2:4]) or 1, int(digits[4:6]) or 1) and check in {
        97 - number % 97,
        97 - (2_000_000_000 + number) % 97,
    }


def _norwegian(digits: str) -> bool:
    values = [int(one) for one in digits]
    right = all(
        sum(value * weight for value, weight in zip(values, weights, strict=False)) % 11 == 0
        for weights in (_NO_FIRST, _NO_SECOND)
    )
    return right and is_day(2000, int(digits[2:4]), int(digits[:2]) % 40)


KINDS: Final[tuple[Kind, ...]] = (
    kind_of("AR_CUIT", r"\d{2}-\d{8}-\d", cuit.is_valid, "cuit|cuil"),
    kind_of("BE_NN", r"\d{2}\.\d{2}\.\d{2}-\d{3}\.\d{2}|\d{11}", _belgian, r"rijksregister\w*|niss|national number"),
    kind_of("BR_CNPJ", r"\d{2}\.\d{3}\.\d{3}/\d{4}-\d{2}|\d{14}", cnpj.is_valid, "cnpj"),
    kind_of("BR_CPF", r"\d{3}\.\d{3}\.\d{3}-\d{2}|\d{11}", cpf.is_valid, "cpf"),
    kind_of("CH_SSN", r"756\.\d{4}\.\d{4}\.\d{2}|756\d{10}", ch_ssn.is_valid, r"ahv\w*|avs"),
    kind_of("CH_UID", r"CHE[\- ]?\d{3}\.?\d{3}\.?\d{3}", uid.is_valid, "uid|ide"),
    kind_of("CL_RUT", r"\d{1,2}\.?\d{3}\.?\d{3}-[0-9K]", rut.is_valid, "rut|run"),
    kind_of("CN_RIC", r"\d{17}[0-9X]", ric.is_valid, "id card|resident identity"),
    kind_of("CZ_RC", r"\d{6}/\d{3,4}", rc.is_valid, "rodne cislo|rc"),
    kind_of("DO_CEDULA", r"\d{3}-\d{7}-\d", cedula.is_valid, "cedula"),
    kind_of("EE_IK", r"[1-6]\d{10}", ik.is_valid, "isikukood|asmens kodas", bare=False),
    kind_of("ES_CIF", r"[A-HJNP-SUVW]-?\d{7}-?[0-9A-J]", cif.is_valid, "cif"),
    kind_of("EU_VAT", r"(?:AT|BE|BG|CY|CZ|DK|EE|EL|ES|FI|FR|HR|HU|IE|IT|LT|LU|LV|MT|NL|PL|PT|RO|SE|SI|SK) ?[0-9A-Z]{8,12}", vat.is_valid, "vat|tva|iva|btw|mwst"),
    kind_of("FR_NIR", r"[1278]([ .]?)\d{2}\1\d{2}\1\d[0-9AB]\1\d{3}\1\d{3}\1\d{2}", nir.is_valid, "nir|insee|securite sociale"),
    kind_of("GB_VAT", r"GB ?\d{3} ?\d{4} ?\d{2}", gb_vat.is_valid, "vat"),
    kind_of("GR_AMKA", r"\d{11}", amka.is_valid, "amka", bare=False),
    kind_of("HR_OIB", r"(?:HR)?\d{11}", oib.is_valid, "oib", bare=False),
    kind_of("IE_PPS", r"\d{7}[A-W][A-IW]?", pps.is_valid, "ppsn?"),
    kind_of("IL_ID", r"\d{9}", il_idnr.is_valid, "teudat zehut|israeli id", bare=False),
    kind_of("IS_KENNITALA", r"\d{6}-\d{4}", kennitala.is_valid, "kennitala"),
    kind_of("JP_CN", r"\d-\d{4}-\d{4}-\d{4}", cn.is_valid, "corporate number"),
    kind_of("LEI", r"[0-9A-Z]{18}\d{2}", lei.is_valid, "lei"),
    kind_of("LV_PK", r"\d{6}-\d{5}", pvn.is_valid, "personas kods"),
    kind_of("MX_CURP", r"[A-Z]{4}\d{6}[HM][A-Z]{5}[0-9A-Z]\d", curp.is_valid, "curp"),
    kind_of("NL_BSN", r"\d{4}\.\d{2}\.\d{3}|\d{9}", bsn.is_valid, "bsn|burgerservicenummer", bare=False),
    kind_of("NO_FODSELSNUMMER", r"\d{6} ?\d{5}", _norwegian, "fodselsnummer|personnummer"),
    kind_of("NZ_IRD", r"\d{2,3}-\d{3}-\d{3}", ird.is_valid, "ird"),
    kind_of("PK_CNIC", r"\d{5}-\d{7}-\d", cnic.is_valid, "cnic"),
    kind_of("PT_NIF", r"\d{3} ?\d{3} ?\d{3}", pt_nif.is_valid, "nif|contribuinte", bare=False),
    kind_of("RO_CNP", r"[1-8]\d{12}", cnp.is_valid, "cnp"),
    kind_of("US_EIN", r"\d{2}-\d{7}", ein.is_valid, "ein|employer"),
    kind_of("VE_RIF", r"[VEJPG]-?\d{8}-?\d", rif.is_valid, "rif"),
)  # fmt: skip
